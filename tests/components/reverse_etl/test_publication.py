"""Publishing versions one after another, at the same time, and after killed runs."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import psycopg2
import pyarrow.parquet as pq
import pytest
from psycopg2.extensions import connection as Connection
from pymongo.database import Database

from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from steam_recsys.data.schemas import LISTS
from steam_recsys.database import lock_watch
from steam_recsys.database.failures import UnavailableError
from steam_recsys.database.limits import Limits
from steam_recsys.errors import UserError
from steam_recsys.publications import postgres
from steam_recsys.publications.destinations import DestinationConfig, Destinations, kept_versions, rollback
from steam_recsys.publications.versions import KeptVersion, VersionInfo
from tests.components.reverse_etl.predicted import (
    ListRow,
    marked,
    overall,
    publish_version,
    user_ranges,
    write_predictions,
)
from tests.shop import add_game, add_user


def kept(database: str) -> list[KeptVersion]:
    return kept_versions(DestinationConfig(database))["PostgreSQL"]


def tables(connection: Connection) -> set[str]:
    """The versions' tables, except the partitions of existing tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class LEFT JOIN pg_inherits ON inhrelid = oid "
            "WHERE relnamespace = 'recsys'::regnamespace AND relkind IN ('r', 'p') AND inhparent IS NULL "
            "AND relname NOT IN ('schema_version', 'publications', 'pipeline_runs', 'monitoring', 'genre_sizes', "
            "'game_reviews', 'lease', 'replaced_lists', 'events', 'dismissals', 'experiment', 'experiment_users')"
        )
        return {name for (name,) in cursor.fetchall()}


def tables_of(*versions: str) -> set[str]:
    return {f"{table}_{version}" for table in ("recommendations", "popular") for version in versions}


def shown(connection: Connection) -> tuple[str | None, float | None, int]:
    """The version, the mark and the number of users that a reader sees."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(version), max(taste[1] + popularity[1]), count(*)::int FROM recsys.recommendations")
        return cursor.fetchone()


def die(*_: object) -> None:
    raise MemoryError


def test_a_publication_in_postgresql_equals_the_shards(shop: Connection, database: str, tmp_path: Path) -> None:
    games = [add_game(shop, name) for name in ("A", "B")]
    users = [add_user(shop, name) for name in ("u", "v", "w")]
    exact = [0.1, 1e-30]
    interests: ListRow = (users[0], "interests", games[:1], exact[:1], [-7.5], [None])
    rows = [(users[0], games, exact, [None, games[0]]), interests, (users[1], games[:1], [-3.4e38], [games[1]])]
    last = [(users[2], games, [3.0, 2.0], [None, None])]
    popular = [*overall(games), ("new_releases", "", 1, games[1], 0.5)]
    predictions = write_predictions(tmp_path / "p", [rows, last, []], popular)
    info = VersionInfo("v1", "m", "s", date(2024, 1, 2), 0.0)
    done = publish(DestinationConfig(database), str(predictions), info, user_ranges(predictions))
    assert (done.version, done.users, done.rows, done.switched) == ("v1", 3, 6, True)
    assert done.facts()["rows"] == 6
    # One of three pairs has both games in common, the others one of two. All lists begin as the popular one.
    assert (done.overlap, done.coverage, done.popular_ten) == (pytest.approx(2 / 3), 1.0, 1.0)
    assert not predictions.exists()
    with shop.cursor() as cursor:
        cursor.execute("SELECT * FROM recsys.recommendations ORDER BY user_id, list DESC")
        assert cursor.fetchall() == [
            (users[0], "relevance", games, exact, [0.0, 0.0], [None, games[0]], "v1", "m"),
            (users[0], "interests", games[:1], exact[:1], [-7.5], [None], "v1", "m"),
            (users[1], "relevance", games[:1], [-3.4e38], [0.0], [games[1]], "v1", "m"),
            (users[2], "relevance", games, [3.0, 2.0], [0.0, 0.0], [None, None], "v1", "m"),
        ]
        cursor.execute(
            "SELECT list, genre, rank, game_id, score, version FROM recsys.popular_games ORDER BY list, rank"
        )
        assert cursor.fetchall() == [
            ("new_releases", "", 1, games[1], 0.5, "v1"),
            ("popular", "", 1, games[0], 99.0, "v1"),
            ("popular", "", 2, games[1], 98.0, "v1"),
        ]
        cursor.execute(
            "SELECT model_version, snapshot_id, users, rows, overlap, coverage, popular_ten, as_of, current, "
            "published_at >= created_at FROM recsys.publications"
        )
        assert cursor.fetchall() == [("m", "s", 3, 6, pytest.approx(2 / 3), 1.0, 1.0, date(2024, 1, 2), True, True)]
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE schemaname = 'recsys' AND tablename LIKE 'part_0_v1'")
        assert cursor.fetchone() == (1,)


def test_the_largest_user_id_of_its_type_is_published(shop: Connection, database: str, tmp_path: Path) -> None:
    game, largest = add_game(shop, "A"), 2**63 - 1
    with shop.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.users (user_id, username) OVERRIDING SYSTEM VALUE VALUES (%s, 'sentinel')", [largest]
        )
    publish_version(database, write_predictions(tmp_path / "p", [[(largest, [game], [1.0], [None])]], overall([game])))
    with shop.cursor() as cursor:
        cursor.execute("SELECT user_id, game_ids FROM recsys.recommendations")
        assert cursor.fetchall() == [(largest, [game])]


def test_a_version_that_recommends_the_same_to_everybody_is_not_accepted(
    shop: Connection, both: DestinationConfig, tmp_path: Path
) -> None:
    predictions = marked(tmp_path / "1", shop, 1.0, users=100)
    sentence = r"Version v1 is not accepted\. Overlap of two users' first ten games: 1\.0000, must be at most 0\.9000"
    with pytest.raises(UserError, match=sentence):
        publish_version(both, predictions, thresholds=Thresholds())
    assert tables(shop) == set()
    assert publish_version(both, predictions, thresholds=Thresholds(overlap_ceiling=1.0)).overlap == 1.0


def test_publishing_a_version_again_changes_nothing(
    shop: Connection, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=3))
    before = kept(database)
    again = publish_version(database, marked(tmp_path / "2", shop, 2.0, users=2))
    assert (again.switched, again.users, again.rows) == (False, 3, 6)
    assert "was published before, the current version stays" in capsys.readouterr().out
    assert (kept(database), shown(shop)) == (before, ("v1", 1.0, 3))


def test_a_publication_updates_the_function_that_the_shop_calls(
    shop: Connection, database: str, tmp_path: Path
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=1))
    with shop.cursor() as cursor:
        cursor.execute("DROP FUNCTION recsys.recommended_games")
        publish_version(database, marked(tmp_path / "2", shop, 2.0, users=2), "v2")
        cursor.execute("SELECT max(score) FROM recsys.recommended_games(2)")
        assert cursor.fetchone() == (2.0,)


def test_a_corrupt_second_shard_leaves_the_previous_version(shop: Connection, database: str, tmp_path: Path) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2))
    predictions = marked(tmp_path / "2", shop, 2.0, users=3)
    ranges = user_ranges(predictions)
    shard = predictions / "recommendations" / "shard-00001.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"shard-00001\.parquet is damaged, its checksum"):
        publish_version(database, predictions, "v2", ranges)
    assert (shown(shop), tables(shop)) == (("v1", 1.0, 2), tables_of("v1"))
    shard.write_bytes(whole)
    assert publish_version(database, predictions, "v2", ranges).switched
    assert (shown(shop), tables(shop)) == (("v2", 2.0, 3), tables_of("v1", "v2"))


def test_a_run_killed_before_the_switch_starts_over(
    shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2))
    dead = marked(tmp_path / "dead", shop, 9.0, users=3)
    with monkeypatch.context() as patch:
        patch.setattr(Destinations, "switch", die)
        with pytest.raises(MemoryError):
            publish_version(database, dead, "v2")
    assert (shown(shop), tables(shop)) == (("v1", 1.0, 2), tables_of("v1", "v2"))
    assert [each.version for each in kept(database)] == ["v1"]
    publish_version(database, marked(tmp_path / "2", shop, 2.0, users=3), "v2")
    assert (shown(shop), tables(shop)) == (("v2", 2.0, 3), tables_of("v1", "v2"))


def test_tables_locked_by_a_lost_publisher_are_reported(
    shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Destinations, "switch", die)
        with pytest.raises(MemoryError):
            publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    predictions = marked(tmp_path / "2", shop, 2.0, users=2)
    lost = psycopg2.connect(os.environ["DATABASE_URL"])
    with lost.cursor() as cursor, monkeypatch.context() as patch:
        cursor.execute("SELECT FROM recsys.recommendations_v1")
        patch.setattr(postgres, "UNFINISHED_LIMITS", Limits(lock=3))
        patch.setattr(lock_watch, "LOOK_SECONDS", 0.02)
        with pytest.raises(UnavailableError, match=rf"for a lock \(held by process {lost.info.backend_pid} \("):
            publish_version(database, predictions, "v2")
    lost.close()
    assert publish_version(database, predictions, "v2").switched
    assert tables(shop) == tables_of("v2")


def test_leftovers_of_a_killed_run_are_dropped_by_another_version_and_other_tables_stay(
    shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2))
    with shop.cursor() as cursor:
        cursor.execute("CREATE TABLE recsys.recommendations_of_the_week (game_id int)")
    with monkeypatch.context() as patch:
        patch.setattr(Destinations, "switch", die)
        with pytest.raises(MemoryError):
            publish_version(database, marked(tmp_path / "dead", shop, 9.0, users=3), "v2")
    publish_version(database, marked(tmp_path / "3", shop, 3.0, users=3), "v3")
    left = tables(shop)
    assert (shown(shop), left) == (("v3", 3.0, 3), tables_of("v1", "v3") | {"recommendations_of_the_week"})


def test_the_last_three_versions_are_kept(shop: Connection, database: str, tmp_path: Path) -> None:
    for number in range(1, 6):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    assert [(each.version, each.current) for each in kept(database)] == [
        ("v5", True), ("v4", False), ("v3", False),
    ]  # fmt: skip
    assert tables(shop) == tables_of("v3", "v4", "v5")


def publish_four_while_the_first_is_read(shop: Connection, database: str, postgres_url: str, tmp_path: Path) -> None:
    """Publish v1 to v4, of which v1 is kept although it is old, as a reader had locked it."""
    for number in range(1, 4):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    reader = psycopg2.connect(postgres_url)
    reader.cursor().execute("SELECT FROM recsys.recommendations_v1")
    assert publish_version(database, marked(tmp_path / "4", shop, 4, users=2), "v4").switched
    assert tables(shop) == tables_of("v1", "v2", "v3", "v4")
    reader.close()


def test_an_old_version_that_is_being_read_is_dropped_by_a_later_publication(
    shop: Connection, database: str, postgres_url: str, tmp_path: Path
) -> None:
    publish_four_while_the_first_is_read(shop, database, postgres_url, tmp_path)
    publish_version(database, marked(tmp_path / "5", shop, 5, users=2), "v5")
    assert tables(shop) == tables_of("v3", "v4", "v5")


def test_the_retry_of_a_run_killed_after_its_switch_drops_the_old_version(
    shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    predictions = marked(tmp_path / "4", shop, 4, users=2)
    with monkeypatch.context() as patch:
        patch.setattr(postgres.PostgresDestination, "drop", die)
        with pytest.raises(MemoryError):
            publish_version(database, predictions, "v4")
    assert (shown(shop)[0], tables(shop)) == ("v4", tables_of("v1", "v2", "v3", "v4"))
    assert not publish_version(database, predictions, "v4").switched
    assert (shown(shop)[0], tables(shop)) == ("v4", tables_of("v2", "v3", "v4"))


def test_the_retry_of_an_old_version_succeeds_although_it_is_dropped_now(
    shop: Connection, database: str, postgres_url: str, tmp_path: Path
) -> None:
    publish_four_while_the_first_is_read(shop, database, postgres_url, tmp_path)
    again = publish_version(database, marked(tmp_path / "again", shop, 1, users=2), "v1")
    assert (again.switched, again.users) == (False, 2)
    assert (shown(shop)[0], tables(shop)) == ("v4", tables_of("v2", "v3", "v4"))


@pytest.mark.parametrize(
    "dependent",
    [
        "CREATE VIEW report AS SELECT * FROM recsys.recommendations_v1",
        "CREATE MATERIALIZED VIEW report AS SELECT * FROM recsys.popular_v1",
    ],
)
def test_an_old_version_with_a_view_of_the_shop_stays_and_others_are_dropped(
    shop: Connection, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], dependent: str
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1, users=2), "v1")
    with shop.cursor() as cursor:
        cursor.execute(dependent)
        for number in range(2, 7):
            publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
            assert shown(shop) == (f"v{number}", float(number), 2)
        assert tables(shop) == tables_of("v1", "v4", "v5", "v6")
        assert "version v1 is kept, as " in capsys.readouterr().out
        cursor.execute("SELECT count(*) > 0 FROM report")
        assert cursor.fetchone() == (True,)
        assert "v1" in [each.version for each in kept(database)]
        cursor.execute("DROP VIEW report" if "MATERIALIZED" not in dependent else "DROP MATERIALIZED VIEW report")
    publish_version(database, marked(tmp_path / "7", shop, 7, users=2), "v7")
    assert tables(shop) == tables_of("v5", "v6", "v7")


def test_an_unfinished_version_with_a_view_of_the_shop_does_not_stop_others(
    shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Destinations, "switch", die)
        with pytest.raises(MemoryError):
            publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    with shop.cursor() as cursor:
        cursor.execute("CREATE VIEW report AS SELECT * FROM recsys.recommendations_v1")
        assert publish_version(database, marked(tmp_path / "2", shop, 2.0, users=2), "v2").switched
        again = marked(tmp_path / "again", shop, 1.0, users=2)
        with pytest.raises(UserError, match=r"An unfinished version v1 could not be dropped, see above"):
            publish_version(database, again, "v1")
        cursor.execute("DROP VIEW report")
    assert publish_version(database, again, "v1").switched


@pytest.mark.parametrize(
    "taken",
    [
        "SELECT FROM recsys.lease WHERE name = 'switch' FOR UPDATE",
        "LOCK TABLE recsys.publications IN SHARE MODE",
        "UPDATE recsys.publications SET model_version = 'mine'",
    ],
    ids=["switch", "table", "row"],
)
def test_a_switch_blames_who_holds_the_lock_and_no_reader(
    shop: Connection,
    database: str,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken: str,
) -> None:
    for number in (1, 2):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    reader = psycopg2.connect(postgres_url, application_name="innocent")
    holder = psycopg2.connect(postgres_url, application_name="culprit")
    reader.cursor().execute("SELECT count(*) FROM steam.users")
    holder.cursor().execute(taken)
    monkeypatch.setattr(postgres, "SWITCH_PATIENCE_SECONDS", 0.0)
    with pytest.raises(UnavailableError, match=rf"as process {holder.info.backend_pid} \(culprit, .*\) holds a lock"):
        rollback(DestinationConfig(database))
    for each in (reader, holder):
        each.close()
    assert rollback(DestinationConfig(database)) == "v1"


def test_an_advisory_lock_of_any_role_stops_no_publication(
    shop: Connection, database: str, postgres_url: str, tmp_path: Path
) -> None:
    holder = psycopg2.connect(postgres_url)
    for name in ("publish", "switch"):
        holder.cursor().execute("SELECT pg_advisory_lock(hashtext(%s))", [f"steam-recsys:recsys.{name}"])
    assert publish_version(database, marked(tmp_path / "1", shop, 1, users=2), "v1").switched
    holder.close()


@pytest.mark.parametrize("versions", [("v1", "v1"), ("v1", "v2")])
def test_two_publishers_at_once_take_turns(
    shop: Connection, database: str, tmp_path: Path, versions: tuple[str, str]
) -> None:
    folders = [marked(tmp_path / str(number), shop, 1.0, users=3) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(publish_version, [database] * 2, folders, versions))
    assert sum(each.switched for each in done) == len(set(versions))
    assert [(each.users, each.rows) for each in done] == [(3, 6), (3, 6)]
    assert tables(shop) == tables_of(*versions)
    current = [each.version for each in kept(database) if each.current]
    assert (len(current), shown(shop)) == (1, (current[0], 1.0, 3))


def test_a_switch_blocked_by_an_open_reader_stops_and_names_the_reader(
    shop: Connection, database: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2))
    reader = psycopg2.connect(postgres_url, application_name="night report")
    reader.cursor().execute("SELECT count(*) FROM recsys.recommendations")
    predictions = marked(tmp_path / "2", shop, 2.0, users=3)
    with monkeypatch.context() as patch:
        patch.setattr(postgres, "SWITCH_PATIENCE_SECONDS", 0.0)
        with pytest.raises(
            UnavailableError,
            match=r"The views of recsys cannot be changed, as process \d+ \(night report, user steam, since .* UTC\) "
            r"holds a lock: end that transaction",
        ):
            publish_version(database, predictions, "v2")
    assert shown(shop) == ("v1", 1.0, 2)
    reader.close()
    assert publish_version(database, predictions, "v2").switched
    assert (shown(shop), tables(shop)) == (("v2", 2.0, 3), tables_of("v1", "v2"))


@pytest.mark.parametrize("version", ["", "a b", "../v1", 'v"; DROP', "games", "v" * 48, "-v", "v\n"])
def test_a_version_that_cannot_name_a_table_is_refused(database: str, tmp_path: Path, version: str) -> None:
    with pytest.raises(UserError, match="cannot name a table"):
        publish_version(database, tmp_path, version)


def test_the_longest_version_has_its_own_tables(shop: Connection, database: str, tmp_path: Path) -> None:
    versions = ["2024-01-01T00.00.00_" + "x" * 26 + end for end in "ab"]
    for number, version in enumerate(versions):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), version)
    assert tables(shop) == tables_of(*versions)


def test_a_database_without_the_shops_data_is_refused(database: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no schema steam: run the ingestion pipeline first"):
        publish_version(database, tmp_path)


def test_a_shard_survives_a_round_trip_in_many_batches(
    shop: Connection, both: DestinationConfig, mongo: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steam_recsys.data.predictions.BATCH_ROWS", 3)
    games = [add_game(shop, f"Game {number}") for number in range(5)]
    users = [add_user(shop, f"user {number}") for number in range(20)]
    rows = [
        (user, name, games[:n], [user + k / 7 for k in range(n)], [k / 3 for k in range(n)], [None, *games][:n])
        for user in users
        for n, name in enumerate(("relevance", *LISTS[1 + user % 3 :]), start=1 + user % 3)
    ]
    predictions = write_predictions(tmp_path / "p", [rows], overall(games))
    stored = pq.read_table(predictions / "recommendations").to_pylist()
    publish_version(both, predictions)
    with shop.cursor() as cursor:
        cursor.execute(
            "SELECT user_id, list, game_ids, taste::float8[], popularity::float8[], because "
            "FROM recsys.recommendations ORDER BY user_id, array_position(%s, list::text)",
            [list(LISTS)],
        )
        assert cursor.fetchall() == [tuple(row.values()) for row in stored]
    documents: dict[int, dict[str, object]] = {}
    for row in stored:
        documents.setdefault(row.pop("user_id"), {})[row.pop("list")] = row
    assert {each["_id"]: each["lists"] for each in mongo.recommendations_v1.find()} == documents
