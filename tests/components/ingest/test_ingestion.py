import csv
from datetime import date, datetime

import psycopg2
import pytest

from components.ingest import ingestion
from components.ingest.ingestion import ingest
from components.ingest.raw_files import RAW_FILES, REVIEWS, open_raw
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from tests.raw_files import game, ranking, review, write_raw


def rows(connection, query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def contents(connection):
    """Return everything that a load can change, including ids and times."""
    tables = ("users", "games", "game_requirements", "game_genres", "reviews", "rankings", "rejected_rows")
    return {table: sorted(rows(connection, f"SELECT t::text FROM steam.{table} AS t")) for table in tables}


@pytest.fixture
def quirky(tmp_path):
    """Raw files with every quirk of the real ones."""
    return write_raw(
        tmp_path / "raw",
        reviews=[
            review("Portal", "ann", "November 5, 2011", hours_played="1,234.5", helpful="1,000", review="Good"),
            review("Portal", "ann", "7 November, 2011", recommendation="Not Recommended"),
            review("Portal", "bob", "March 3"),
            review("No Description &amp; Co", "bob", ""),
            review("Portal", "", "November 5, 2011", review="one"),
            review("Portal", "", "November 5, 2011", review="two"),
            review("Portal", "", "November 5, 2011", review="two"),
            review("Portal", 'line\nbreak "quoted" \\N \t<b>😀\0', "November 5, 2011", review="\\.\n\\."),
        ],
        games=[
            game(
                "Portal",
                genres="""['Puzzle', "1990's"]""",
                developer="['Traveller's Tales']",
                release_date="10 Oct, 2007",
                minimum_system_requirement="['Memory: 512 MB RAM']",
                number_of_reviews_from_purchased_people="(81% of 62,791)\xa0All Time",
                number_of_english_reviews="51,920",
            ),
            game("Silent", release_date="Coming soon", number_of_reviews_from_purchased_people="(654,820)"),
        ],
        rankings=[ranking("Portal"), ranking("Only Ranked", "Role-Playing", "Review", "2")],
    )


def test_joins_lose_no_reviews_and_no_rankings(quirky, database, connection):
    loaded = ingest(quirky, database)
    assert (loaded.inserted, loaded.updated, loaded.rejected) == (8, 0, {})
    assert rows(connection, "SELECT count(*) FROM steam.reviews") == [(8,)]
    assert rows(connection, "SELECT name FROM steam.games ORDER BY game_id") == [
        ("Portal",),
        ("Silent",),
        ("No Description & Co",),
        ("Only Ranked",),
    ]
    query = "SELECT name, genre, rank_type, rank FROM steam.rankings JOIN steam.games USING (game_id) ORDER BY rank"
    assert rows(connection, query) == [("Portal", "Action", "Sales", 1), ("Only Ranked", "Role-Playing", "Review", 2)]


def test_unknown_authors_do_not_become_one_user(quirky, database, connection):
    ingest(quirky, database)
    assert rows(connection, "SELECT count(*) FROM steam.reviews WHERE user_id IS NULL") == [(3,)]
    names = {name for (name,) in rows(connection, "SELECT username FROM steam.users")}
    assert names == {"ann", "bob", 'line\nbreak "quoted" \\N \t<b>😀'}


def test_a_second_review_of_a_game_is_a_separate_row(quirky, database, connection):
    ingest(quirky, database)
    query = (
        "SELECT recommended FROM steam.reviews JOIN steam.users USING (user_id) "
        "WHERE username = 'ann' ORDER BY reviewed_on"
    )
    assert rows(connection, query) == [(True,), (False,)]


def test_a_date_without_a_year_uses_the_newest_year_or_the_parameter(quirky, database, connection):
    query = "SELECT reviewed_on FROM steam.reviews JOIN steam.users USING (user_id) WHERE username = 'bob' ORDER BY 1"
    ingest(quirky, database)
    assert rows(connection, query) == [(date(2011, 3, 3),), (None,)]
    ingest(quirky, database, year=2010)
    assert rows(connection, query) == [(date(2010, 3, 3),), (None,)]


@pytest.mark.parametrize("year", [None, 2026])
@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (date(2026, 5, 1), date(2025, 11, 5)),
        (date(2026, 11, 3), date(2025, 11, 5)),
        (date(2026, 11, 4), date(2026, 11, 5)),
    ],
)
def test_a_date_without_a_year_that_is_in_the_future_on_the_day_of_the_load_is_of_the_year_before(
    tmp_path, database, connection, monkeypatch, today, expected, year
):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(today.year, today.month, today.day, tzinfo=tz)

    monkeypatch.setattr(ingestion, "datetime", Clock)
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann", "2026-01-15"), review("Portal", "bob", "November 5")])
    ingest(raw, database, year=year)
    assert rows(connection, "SELECT reviewed_on FROM steam.reviews ORDER BY review_id") == [
        (date(2026, 1, 15),),
        (expected,),
    ]


def test_february_29_is_unknown_if_the_year_is_not_a_leap_year(tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann", "February 29"), review("Portal", "bob", "May 1, 2011")])
    ingest(raw, database)
    assert rows(connection, "SELECT reviewed_on FROM steam.reviews ORDER BY review_id") == [
        (None,),
        (date(2011, 5, 1),),
    ]


def test_figures_of_games_are_loaded(quirky, database, connection):
    ingest(quirky, database)
    query = (
        "SELECT reviews_total, positive_share, positive_share_of, released_on, release_text "
        "FROM steam.games ORDER BY game_id"
    )
    assert rows(connection, query)[:2] == [
        (None, pytest.approx(0.81), 62_791, date(2007, 10, 10), "10 Oct, 2007"),
        (654_820, None, None, None, "Coming soon"),
    ]
    assert rows(connection, "SELECT level, ram_gb FROM steam.game_requirements") == [("minimum", 0.5)]
    assert rows(connection, "SELECT name FROM steam.genres ORDER BY genre_id") == [("Puzzle",), ("1990's",)]
    assert rows(connection, "SELECT name FROM steam.developers") == [("Traveller's Tales",)]


def test_loading_twice_changes_nothing(quirky, database, connection):
    ingest(quirky, database)
    before = contents(connection)
    again = ingest(quirky, database)
    assert (again.inserted, again.updated) == (0, 0)
    assert contents(connection) == before


def test_references_are_enforced_after_every_load(quirky, database, connection):
    for _ in range(2):
        ingest(quirky, database)
        with connection.cursor() as cursor, pytest.raises(psycopg2.errors.ForeignKeyViolation):
            cursor.execute("INSERT INTO steam.reviews (game_id, recommended) VALUES (999, true)")


def test_the_first_load_restores_all_constraints_and_indexes(quirky, database, shop):
    query = """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'steam'::regnamespace
        UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'steam' ORDER BY 1, 2, 3
    """
    rows(shop, 'CREATE INDEX "shop\'s own" ON steam.reviews (hours_played) WHERE recommended; SELECT')
    before = rows(shop, query)
    ingest(quirky, database)
    assert rows(shop, query) == before


def test_a_first_load_keeps_a_constraint_that_another_table_refers_to(quirky, database, shop, capsys):
    rows(shop, "CREATE TABLE public.members (name text REFERENCES steam.users (username)); SELECT")
    ingest(quirky, database)
    assert "the first load takes longer, because its constraints stay in place: constraint members" in (
        capsys.readouterr().out
    )
    assert rows(shop, "SELECT count(*) FROM steam.reviews")[0][0] > 0
    assert rows(shop, "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'members%'") == [(1,)]


def test_a_corrected_file_changes_only_the_rows_that_differ(quirky, database, connection, tmp_path):
    ingest(quirky, database)
    before = dict(rows(connection, "SELECT review_id, r::text FROM steam.reviews AS r"))
    path = tmp_path / "raw" / REVIEWS.name
    with path.open(encoding="utf-8", newline="") as file:
        content = list(csv.DictReader(file))
    content[0]["hours_played"] = "2,000"  # a known author
    content[2]["date"] = "May 5, 2011"  # another one
    content[4]["recommendation"] = "Not Recommended"  # an unknown author
    write_raw(tmp_path / "raw", content, [game("Portal")], [ranking("Silent")])
    corrected = ingest(quirky, database)
    after = dict(rows(connection, "SELECT review_id, r::text FROM steam.reviews AS r"))
    assert (corrected.inserted, corrected.updated) == (0, 3)
    assert sorted(key for key in after if after[key] != before[key]) == [1, 3, 5]
    assert after.keys() == before.keys()
    assert rows(connection, "SELECT count(*) FROM steam.game_genres JOIN steam.games USING (game_id) "
                "WHERE name = 'Portal'") == [(0,)]  # fmt: skip
    assert rows(connection, "SELECT name FROM steam.rankings JOIN steam.games USING (game_id) "
                "WHERE genre = 'Action'") == [("Silent",)]  # fmt: skip


def test_a_file_of_new_reviews_adds_rows(quirky, database, connection, tmp_path):
    ingest(quirky, database)
    increment = write_raw(tmp_path / "increment", [review("Portal", "", "May 1, 2012", review="one")])
    assert ingest(increment, database).inserted == 1
    assert rows(connection, "SELECT count(*) FROM steam.reviews") == [(9,)]
    assert rows(connection, "SELECT count(*) FROM steam.game_genres") == [(2,)]


def test_a_newer_year_moves_dates_without_a_year_and_duplicates_nothing(tmp_path, database, connection):
    first = [
        review("Portal", "ann", "March 3"),
        review("Portal", "", "March 3"),
        review("Portal", "bob", "May 1, 2011"),
    ]
    ingest(write_raw(tmp_path / "raw", first), database)
    ingest(write_raw(tmp_path / "raw", [*first, review("Portal", "eve", "May 1, 2012")]), database)
    assert rows(connection, "SELECT reviewed_on FROM steam.reviews ORDER BY review_id") == [
        (date(2012, 3, 3),), (date(2012, 3, 3),), (date(2011, 5, 1),), (date(2012, 5, 1),)
    ]  # fmt: skip


def test_names_survive_any_client_encoding(tmp_path, database, connection, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    ingest(write_raw(tmp_path / "raw", [review("Pokémon ポケモン", "ann")]), database)
    assert rows(connection, "SELECT name FROM steam.games") == [("Pokémon ポケモン",)]


def test_raw_files_are_loaded_from_a_bucket(tmp_path, database, connection, remote_store):
    write_raw(tmp_path / "raw", [review("Portal", "ann")], [game("Portal")])
    for path in (tmp_path / "raw").iterdir():
        open_folder(remote_store).put(path, path.name)
    open_folder(remote_store).write("more/unrelated.bin", b"x")
    with open_raw(remote_store) as sources:
        fetched = {path.name for source in sources.values() for path in source.path.parent.rglob("*")}
        assert fetched == {raw.name for raw in RAW_FILES}
    assert ingest(remote_store, database).inserted == 1
    with pytest.raises(UserError, match=f"^{remote_store}/elsewhere/{REVIEWS.name} is missing: give a folder that"):
        ingest(f"{remote_store}/elsewhere", database)
    open_folder(remote_store).write(REVIEWS.name, b"")
    with pytest.raises(UserError, match=f"^{remote_store}/{REVIEWS.name} is empty"):
        ingest(remote_store, database)


def test_columns_may_have_any_order_and_others_between_them(tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw")
    header = "\ufeffusername,extra,date,game_name,review,hours_played,helpful,funny,recommendation"
    content = f"{header}\nann,x,,Portal,,,,,Recommended\n"
    (tmp_path / "raw" / REVIEWS.name).write_text(content, encoding="utf-8")
    ingest(raw, database)
    assert rows(connection, "SELECT username FROM steam.users") == [("ann",)]


def test_a_file_with_only_a_header_is_valid(tmp_path, database, connection):
    ingest(write_raw(tmp_path / "raw", games=[game("Portal")]), database)
    assert rows(connection, "SELECT name FROM steam.games") == [("Portal",)]
