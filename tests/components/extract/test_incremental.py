"""An incremental snapshot equals one that reads all rows."""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from components.extract import parts
from components.extract.extraction import ExtractionSummary, write_snapshot
from components.extract.parts import KEY_RANGES, LOOK_BACK, SnapshotStore
from steam_recsys.data.snapshot import Manifest, Snapshot
from tests.shop import add_game

WIDTH = 1 << KEY_RANGES["reviews"].bits
RANGES = 5


@pytest.fixture
def filled(shop: Connection) -> Connection:
    """Ten reviews in each of five ranges, dated long before any extraction."""
    add_game(shop, "Portal")
    with shop.cursor() as cursor:
        cursor.execute("INSERT INTO steam.users (username) SELECT 'user ' || n FROM generate_series(1, 20) n")
        cursor.execute(
            "INSERT INTO steam.reviews (review_id, user_id, game_id, recommended, updated_at) "
            "SELECT key_range * %s + n, n, 1, true, timestamptz '2020-01-01' + n * interval '1 hour' "
            "FROM generate_series(0, %s) key_range, generate_series(1, 10) n",
            [WIDTH, RANGES - 1],
        )
    return shop


@pytest.fixture
def late(database: str) -> Iterator[Connection]:
    """Another connection, in a transaction until it commits."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    yield connection
    connection.close()


def increment(database: str, tmp_path: Path) -> ExtractionSummary:
    return write_snapshot(database, tmp_path / "snapshot", tmp_path / "store", connections=2)


def full(database: str, tmp_path: Path) -> ExtractionSummary:
    """Extract the same rows into an empty store."""
    number = len(list(tmp_path.iterdir()))
    return write_snapshot(database, tmp_path / f"full-{number}", tmp_path / f"store-{number}")


def execute(connection: Connection, statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


class Writer:
    """Writers of a shop whose clocks are wrong by less than `LOOK_BACK`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def write(self, connection: Connection) -> None:
        """Change the reviews once, and date the row `now()` by one of the clocks."""
        wrong = self.random.uniform(-0.9, 0.9) * self.random.choice([0, 0, 1]) * LOOK_BACK
        key_range = self.random.randrange(RANGES + 1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT review_id FROM steam.reviews ORDER BY review_id")
            reviews = [review for (review,) in cursor]
            some = self.random.sample(reviews, min(2, len(reviews))) or [0]
            kind = self.random.choice(["insert", "update", "delete", "move", "replace", "clear"])
            if kind in ("insert", "replace", "move"):
                self._insert(connection, key_range * WIDTH + self.random.randrange(WIDTH), wrong)
            if kind == "update":
                cursor.execute(
                    "UPDATE steam.reviews SET helpful = helpful + 1, updated_at = now() + %s WHERE review_id = ANY(%s)",
                    [wrong, some],
                )
            if kind in ("delete", "move"):
                cursor.execute("DELETE FROM steam.reviews WHERE review_id = %s", some[:1])
            if kind == "replace":
                cursor.execute(
                    "DELETE FROM steam.reviews WHERE review_id = "
                    "(SELECT min(review_id) FROM steam.reviews WHERE review_id >> %s = %s)",
                    [KEY_RANGES["reviews"].bits, key_range],
                )
            if kind == "clear" and self.random.random() < 0.2:
                cursor.execute(
                    "DELETE FROM steam.reviews WHERE review_id >> %s = %s", [KEY_RANGES["reviews"].bits, key_range]
                )

    def _insert(self, connection: Connection, review: int, wrong: timedelta) -> None:
        execute(
            connection,
            "INSERT INTO steam.reviews (review_id, user_id, game_id, recommended, updated_at) "
            "VALUES (%s, %s, 1, true, now() + %s) ON CONFLICT DO NOTHING",
            review,
            self.random.choice([None, *range(1, 21)]),
            wrong,
        )


@pytest.mark.parametrize("seed", range(12))
def test_an_incremental_snapshot_equals_a_full_one_after_any_changes(
    filled: Connection, late: Connection, database: str, tmp_path: Path, seed: int
) -> None:
    writer = Writer(seed)
    increment(database, tmp_path)
    for _ in range(6):
        writer.write(late)  # begun before the extraction, committed after it
        for _ in range(writer.random.randrange(4)):
            with filled.cursor() as cursor:
                cursor.execute("SET lock_timeout = '10ms'")
                try:
                    writer.write(filled)
                except psycopg2.errors.LockNotAvailable:
                    continue  # the row is the late writer's
        increment(database, tmp_path)
        late.commit()
        written = increment(database, tmp_path)
        assert written.snapshot_id == full(database, tmp_path).snapshot_id
        rows = Snapshot.open(tmp_path / "snapshot").table("reviews").select(["review_id", "updated_at", "helpful"])
        with filled.cursor() as cursor:
            cursor.execute("SELECT review_id, updated_at, helpful FROM steam.reviews ORDER BY review_id")
            assert [tuple(row.values()) for row in rows.to_pylist()] == cursor.fetchall()


def test_only_changed_ranges_are_written_again(filled: Connection, database: str, tmp_path: Path) -> None:
    assert increment(database, tmp_path).reused == 0
    assert increment(database, tmp_path).reused == RANGES + 2  # and those of users and games
    execute(filled, "UPDATE steam.reviews SET funny = 1, updated_at = now() WHERE review_id = 1")
    execute(filled, "DELETE FROM steam.reviews WHERE review_id = %s", 2 * WIDTH + 1)
    execute(filled, "INSERT INTO steam.users (username) VALUES ('new')")
    third = increment(database, tmp_path)
    assert (third.parts, third.reused) == (RANGES + 2, RANGES - 2 + 1)


def test_a_range_without_recent_dates_is_not_read(filled: Connection, database: str, tmp_path: Path) -> None:
    first = increment(database, tmp_path)
    execute(filled, "UPDATE steam.reviews SET funny = 1")  # without a new date
    assert increment(database, tmp_path).snapshot_id == first.snapshot_id


def test_reviews_that_lose_their_author_are_read_again(filled: Connection, database: str, tmp_path: Path) -> None:
    increment(database, tmp_path)
    execute(filled, "UPDATE steam.reviews SET user_id = NULL WHERE user_id = 3")
    execute(filled, "DELETE FROM steam.users WHERE user_id = 3")
    assert increment(database, tmp_path).snapshot_id == full(database, tmp_path).snapshot_id


def test_a_deleted_user_is_noticed_although_another_one_has_signed_up(
    filled: Connection, database: str, tmp_path: Path
) -> None:
    increment(database, tmp_path)
    execute(filled, "UPDATE steam.reviews SET user_id = NULL WHERE user_id = 3")
    execute(filled, "DELETE FROM steam.users WHERE user_id = 3")
    execute(filled, "INSERT INTO steam.users (username) VALUES ('new')")
    assert increment(database, tmp_path).snapshot_id == full(database, tmp_path).snapshot_id


@pytest.mark.parametrize("content", [None, b"PAR1"])
def test_a_deleted_user_is_noticed_although_the_earlier_part_is_missing_or_truncated(
    filled: Connection, database: str, tmp_path: Path, content: bytes | None
) -> None:
    increment(database, tmp_path)
    (users,) = Manifest.read(tmp_path / "snapshot").files["users"]
    path = tmp_path / "store" / "snapshots" / "parts" / users.path
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    execute(filled, "UPDATE steam.reviews SET user_id = NULL WHERE user_id = 3")
    execute(filled, "DELETE FROM steam.users WHERE user_id = 3")
    assert increment(database, tmp_path).snapshot_id == full(database, tmp_path).snapshot_id


def test_an_incomplete_manifest_is_ignored_and_removed_when_it_is_old(
    filled: Connection, database: str, tmp_path: Path
) -> None:
    first = increment(database, tmp_path)
    manifests = tmp_path / "store" / "snapshots" / "manifests"
    remains = [manifests / f".{stamp}-x.json-y" for stamp in ("20000101", "99990101")]
    for left in remains:
        left.write_bytes(b"")
    assert increment(database, tmp_path).snapshot_id == first.snapshot_id
    assert all(left.exists() for left in remains)
    long_ago = (datetime.now() - 2 * parts.IN_USE_PERIOD).timestamp()
    os.utime(remains[0], (long_ago, long_ago))
    assert increment(database, tmp_path).reused == RANGES + 2
    assert [left.exists() for left in remains] == [False, True]


def test_a_change_without_a_new_date_is_found_within_a_week(
    filled: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    increment(database, tmp_path)
    execute(filled, "UPDATE steam.reviews SET funny = 1")
    monkeypatch.setattr(parts, "FULL_EVERY", timedelta(0))
    assert increment(database, tmp_path).snapshot_id == full(database, tmp_path).snapshot_id


def test_the_week_counts_from_the_last_full_extraction(filled: Connection, database: str, tmp_path: Path) -> None:
    increment(database, tmp_path)
    first = Manifest.read(tmp_path / "snapshot")
    increment(database, tmp_path)
    assert Manifest.read(tmp_path / "snapshot").origin == first.origin


def test_files_missing_from_the_store_are_written_again(filled: Connection, database: str, tmp_path: Path) -> None:
    first = increment(database, tmp_path)
    missing, cut, *_ = Manifest.read(tmp_path / "snapshot").files["reviews"]
    parts = tmp_path / "store" / "snapshots" / "parts"
    (parts / missing.path).unlink()
    (parts / cut.path).write_bytes(b"PAR1")
    assert increment(database, tmp_path).snapshot_id == first.snapshot_id
    Snapshot.open(tmp_path / "snapshot").verify()


def test_a_snapshot_of_another_database_is_not_reused(
    filled: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    increment(database, tmp_path)
    store = SnapshotStore.from_store(tmp_path / "store")
    (name,) = store.folder.names("manifests")
    manifest = Manifest.from_json((tmp_path / "store" / "snapshots" / name).read_bytes())
    assert manifest.origin is not None
    restored = replace(manifest, origin=replace(manifest.origin, database="another"))
    (tmp_path / "store" / "snapshots" / name).write_bytes(restored.to_json())
    execute(filled, "UPDATE steam.reviews SET funny = 1")
    assert increment(database, tmp_path).snapshot_id == full(database, tmp_path).snapshot_id


def test_rows_dated_in_the_future_do_not_hide_later_changes(filled: Connection, database: str, tmp_path: Path) -> None:
    execute(filled, "UPDATE steam.reviews SET updated_at = now() + interval '300 days' WHERE review_id = 1")
    increment(database, tmp_path)
    execute(filled, "UPDATE steam.reviews SET funny = 1, updated_at = now() WHERE review_id = %s", WIDTH + 1)
    assert increment(database, tmp_path).snapshot_id == full(database, tmp_path).snapshot_id


def test_the_manifest_has_the_time_of_the_databases_clock(filled: Connection, database: str, tmp_path: Path) -> None:
    with filled.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        before = cursor.fetchone()[0]
        increment(database, tmp_path)
        cursor.execute("SELECT clock_timestamp()")
        after = cursor.fetchone()[0]
    manifest = json.loads((tmp_path / "snapshot" / "manifest.json").read_text())
    assert before < datetime.fromisoformat(manifest["extracted_at"]) < after
