"""Invalid input: rejected rows, and errors that stop a load."""

import os
import re
import secrets
import subprocess
import sys

import pytest

from components.ingest import staging
from components.ingest.ingestion import ingest
from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS
from components.ingest.staging import RejectedRow
from steam_recsys.errors import UserError
from tests.components.ingest.test_ingestion import rows
from tests.raw_files import game, ranking, review, write_raw


@pytest.mark.parametrize(
    "fields",
    [
        {"helpful": "9" * 20}, {"hours_played": "9" * 400}, {"hours_played": "1" + "0" * 60}, {"username": "é" * 3_000},
        {"game_name": "x" * 10_000},
    ],
)  # fmt: skip
def test_a_value_that_the_database_cannot_hold_is_rejected(fields, tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), {**review("Portal", "bob"), **fields}])
    ingest(raw, database, max_rejected_share=1)
    assert rows(connection, "SELECT username FROM steam.users") == [("ann",)]
    assert rows(connection, "SELECT line FROM steam.rejected_rows") == [(3,)]


@pytest.mark.parametrize(("year", "share"), [(10_000_000, 0.1), (1900, 0.1), (None, -1.0), (None, float("nan"))])
def test_parameters_out_of_range_are_rejected(year, share, tmp_path, database):
    with pytest.raises(UserError, match=r"year is|max_rejected_share is"):
        ingest(write_raw(tmp_path / "raw"), database, year=year, max_rejected_share=share)


def test_a_role_without_the_privilege_to_create_a_schema_is_reported(tmp_path, database, connection, monkeypatch):
    role = f"reader_{secrets.token_hex(4)}"
    rows(connection, f"CREATE ROLE {role} LOGIN PASSWORD 'p'; SELECT 1")
    url = re.sub("//[^@]*@", f"//{role}:p@", os.environ["DATABASE_URL"])
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(UserError, match=r"The role in DATABASE_URL may not do this \(permission denied for database"):
        ingest(write_raw(tmp_path / "raw"), database)


def test_rejected_rows_have_file_line_and_reason(tmp_path, database, connection):
    good = [review(f"Game {n}", f"user {n}") for n in range(10)]
    bad = [
        review("", "ann"),
        review("Portal", "ann", hours_played="many"),
        review("Portal", "ann", "yesterday"),
        review("Portal", "ann", recommendation=""),
    ]
    raw = write_raw(
        tmp_path / "raw",
        good + bad,
        [game("Portal"), game("Portal"), game("Broken", genres="Action")],
        [ranking("Portal", rank="first"), ranking("Portal", rank_type="Fame")],
    )
    with (tmp_path / "raw" / REVIEWS.name).open("a") as file:
        file.write("too,few\r\n")
    loaded = ingest(raw, database, max_rejected_share=1)
    assert loaded.rows == {GAMES.name: 3, REVIEWS.name: 15, RANKINGS.name: 2}
    assert rows(connection, "SELECT file, line, reason FROM steam.rejected_rows ORDER BY file, line") == [
        (GAMES.name, 3, "the game has a row already"),
        (GAMES.name, 4, "genres is not a list"),
        (RANKINGS.name, 2, "rank is not a number"),
        (RANKINGS.name, 3, "rank_type is none of Sales, Revenue, Review"),
        (REVIEWS.name, 12, "game_name is blank"),
        (REVIEWS.name, 13, "hours_played is not a number"),
        (REVIEWS.name, 14, "date is not a date such as November 5, 2011 or 2011-11-05"),
        (REVIEWS.name, 15, "recommendation is neither Recommended nor Not Recommended"),
        (REVIEWS.name, 16, "the row has 2 fields, the header 8"),
    ]
    assert rows(connection, "SELECT content FROM steam.rejected_rows WHERE line = 16") == [("too,few\r\n",)]


def test_too_many_rejected_rows_stop_the_run_and_load_nothing_else(tmp_path, database, connection):
    rejected = [review("Portal", "bob", "yesterday"), review("Portal", "cid", "x" * 99), review("", "dan")]
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), *rejected], [game("Portal")])
    with pytest.raises(UserError, match=r"3 of 4 rows that cannot be read, more than the 1\.0% allowed") as error:
        ingest(raw, database)
    assert (
        "(date is not a date such as November 5, 2011 or 2011-11-05: 2, the first on line 3: 'yesterday'; "
        "game_name is blank: 1, the first on line 5): see steam.rejected_rows, then fix the file, "
        "or allow more with recsys ingest --max-rejected-share 0.05, with compile.py --param max_rejected_share=0.05, "
        "or with STEAM_RECSYS_PARAMETERS__MAX_REJECTED_SHARE=0.05 before make demo." in str(error.value)
    )
    assert [line for (line,) in rows(connection, "SELECT line FROM steam.rejected_rows ORDER BY line")] == [3, 4, 5]
    for table in ("users", "games", "reviews", "genres"):
        assert rows(connection, f"SELECT count(*) FROM steam.{table}") == [(0,)]


def test_of_very_many_rejected_rows_the_first_are_recorded_and_all_are_counted(
    tmp_path, database, connection, monkeypatch
):
    monkeypatch.setattr(staging, "MAX_RECORDED", 2)
    rejected = [review("Portal", name, "yesterday") for name in ("bob", "cid", "dan")] + [review("", "eve")]
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), *rejected], [game("Portal")])
    with pytest.raises(UserError, match=r"4 of 5 rows .*: 3, the first on line 3: .*game_name is blank: 1, the first"):
        ingest(raw, database)
    assert [line for (line,) in rows(connection, "SELECT line FROM steam.rejected_rows ORDER BY line")] == [3, 4]


def test_rejected_rows_disappear_once_the_file_is_fixed(tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann", "yesterday")])
    with pytest.raises(UserError, match="1 of 1 rows"):
        ingest(raw, database)
    assert ingest(write_raw(tmp_path / "raw", [review("Portal", "ann")]), database).inserted == 1
    assert rows(connection, "SELECT count(*) FROM steam.rejected_rows") == [(0,)]


def test_a_missing_file_of_games_or_rankings_is_reported_and_changes_nothing(tmp_path, database, connection, capsys):
    raw = write_raw(
        tmp_path / "raw", [review("Portal", "ann")], [game("Portal", genres="['Puzzle']")], [ranking("Portal")]
    )
    ingest(raw, database)
    for raw_file in (GAMES, RANKINGS):
        (tmp_path / "raw" / raw_file.name).unlink()
    capsys.readouterr()
    assert ingest(raw, database).rows == {REVIEWS.name: 1}
    printed = capsys.readouterr().out
    assert "[ingest] games_description.csv is missing: games keep the descriptions that they have\n" in printed
    assert "[ingest] games_ranking.csv is missing: rankings stay as they are\n" in printed
    assert rows(connection, "SELECT count(*) FROM steam.game_genres, steam.rankings") == [(1,)]


def test_reviews_alone_fill_a_new_database(tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann")])
    for raw_file in (GAMES, RANKINGS):
        (tmp_path / "raw" / raw_file.name).unlink()
    assert ingest(raw, database).inserted == 1


def test_what_is_unknown_in_loaded_rows_is_counted_and_reported(tmp_path, database, connection, capsys):
    raw = write_raw(
        tmp_path / "raw",
        [
            *(review("Portal", name) for name in ("NA", "ann", "NA", r"\N")),
            review("Portal", "bob", "February 29"),
            review("Portal", "cid", "29 Feb"),
            review("Portal", "NA", "yesterday"),
        ],
    )
    loaded = ingest(raw, database, max_rejected_share=1)
    assert loaded.remarks == {
        "the author is unknown, because username is NA": 2,
        r"the author is unknown, because username is \N": 1,
    }
    printed = capsys.readouterr().out
    assert "csv: the author is unknown, because username is NA: 2, the first on line 2\n" in printed
    assert "csv: the date has no year, and 2011 has no February 29, so the date is unknown: 2\n" in printed
    assert rows(connection, "SELECT username FROM steam.users ORDER BY 1") == [("ann",), ("bob",), ("cid",)]


def test_days_without_a_year_in_a_file_without_any_year_are_reported(tmp_path, database, connection, capsys):
    ingest(write_raw(tmp_path / "raw", [review("Portal", "ann", "March 3")]), database)
    assert "the date has no year, and no date in the file has one, so the date is unknown: 1\n" in (
        capsys.readouterr().out
    )


NUL_LIST, NUL_ESCAPE, SURROGATE = "['Act\0ion']", r"['Act\x00ion']", r"['Studio \udce9']"


def test_text_that_the_database_cannot_hold_is_cleaned_or_one_rejected_row(tmp_path, database, connection):
    raw = write_raw(
        tmp_path / "raw",
        [review("Po\0rtal", "an\0n", review="\0"), review("Portal", "ann"), review("Portal", "\0")],
        [
            game("Portal", genres=NUL_LIST),
            game("Por\0tal"),
            game("Half-Life", developer=SURROGATE),
            game("Dota", publisher=NUL_ESCAPE, minimum_system_requirement=SURROGATE, genres=NUL_ESCAPE),
        ],
        [ranking("Portal"), ranking("Po\0rtal", rank="2"), ranking("Portal", genre="Acti\0on", rank="3")],
    )
    loaded = ingest(raw, database, max_rejected_share=1)
    assert loaded.rejected == {
        "the game has a row already": 1,
        "a character is half of a surrogate pair, which is not Unicode": 1,
        "the game has a rank in this ranking already": 2,
    }
    assert rows(connection, "SELECT name FROM steam.games ORDER BY 1") == [("Dota",), ("Portal",)]
    assert rows(connection, "SELECT name FROM steam.genres") == [("Action",)]
    assert rows(connection, "SELECT username FROM steam.users") == [("ann",)]
    assert rows(connection, "SELECT count(*), count(user_id) FROM steam.reviews") == [(3, 2)]


def test_games_whose_names_look_the_same_are_one_game(tmp_path, database, connection):
    names = ("Pokémon", "Poke\u0301mon", "\ufeffPokémon", "Poké\u200bmon")
    raw = write_raw(tmp_path / "raw", [review(name, "ann") for name in names], [game(names[1])], [ranking(names[2])])
    ingest(raw, database)
    assert rows(connection, "SELECT name, rank FROM steam.games JOIN steam.rankings USING (game_id)") == [
        ("Pokémon", 1)
    ]


def test_a_console_that_lacks_a_character_does_not_end_a_load(tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), review("Portal", "bob", recommendation="♥\ufeff")])
    command = [sys.executable, "-m", "commands", "ingest", "--raw", raw, "--max-rejected-share", "1"]
    for log_format in ("text", "json"):
        environment = {**os.environ, "PYTHONIOENCODING": "ascii", "STAGE_LOG_FORMAT": log_format}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert r"\u2665" in done.stdout
    assert rows(connection, "SELECT username FROM steam.users") == [("ann",)]


def test_messages_show_the_beginning_of_a_long_value():
    assert RejectedRow(3, "genres is not a list", "y" * 61, "…").shown_value == f": '{'y' * 60}…'"
    assert RejectedRow(3, "game_name is blank", "", ",,,").shown_value == ""


def test_a_missing_folder_file_or_column_is_reported(tmp_path, database):
    with pytest.raises(UserError, match="nowhere does not exist"):
        ingest(str(tmp_path / "nowhere"), database)
    raw = write_raw(tmp_path / "raw")
    (tmp_path / "raw" / RANKINGS.name).write_text("game_name,genre\n")
    with pytest.raises(
        UserError, match=r"games_ranking.csv lacks the column rank_type, rank: its header is game_name,"
    ):
        ingest(raw, database)
    (tmp_path / "raw" / REVIEWS.name).rename(tmp_path / "raw" / "reviews.csv")
    with pytest.raises(UserError, match=r"/steam_game_reviews.csv is missing: the folder holds .*, reviews.csv; give"):
        ingest(raw, database)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("review,hours_played,helpful,funny,recommendation,date,game_name,username\nJos\xe9,,,,,,,".encode("latin-1"),
         "is not UTF-8"),
        ("review,hours_played,helpful".encode("utf-16"), "is UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
        ("review,hours_played,helpful\n".encode("utf-16-le"), "is UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
        (b"review\thours_played\thelpful\tfunny\trecommendation\tdate\tgame_name\n", "has tabs between its columns"),
        (b"review;hours_played;helpful;funny;recommendation;date;game_name\n", "has semicolons between its columns"),
        (b'review,hours_played,helpful,funny,recommendation,date,game_name,username\n"open,,,,,,,\n,,,,,,,',
         "has a quote that opens near line 2 and never closes"),
    ],
)  # fmt: skip
def test_an_unreadable_file_is_reported(content, message, tmp_path, database):
    raw = write_raw(tmp_path / "raw")
    path = tmp_path / "raw" / REVIEWS.name
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path} {message}"):
        ingest(raw, database)


def test_the_first_line_that_is_not_utf_8_is_reported(tmp_path, database):
    raw = write_raw(tmp_path / "raw", [review(f"Game {n}", "ann") for n in range(3_000)])
    with (tmp_path / "raw" / REVIEWS.name).open("ab") as file:
        file.write("Jos\xe9,,,,,,,\n".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 on line 3002: convert it"):
        ingest(raw, database)


def test_a_schema_of_another_version_is_rejected(tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann")])
    ingest(raw, database)
    rows(connection, "UPDATE steam.schema_version SET version = 0 RETURNING version")
    with pytest.raises(UserError, match="The schema steam in the database is of version 0, this code needs version 3"):
        ingest(raw, database)


def test_a_foreign_schema_is_rejected(tmp_path, database, connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA steam")
    with pytest.raises(UserError, match="was not made by this project"):
        ingest(write_raw(tmp_path / "raw"), database)
