"""Publications that are killed with SIGKILL, while others read."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg2
import pymongo
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.publications.destinations import DestinationConfig, reconcile, rollback
from tests.components.reverse_etl.predicted import Row, marked, publish_version, user_ranges, write_predictions
from tests.components.reverse_etl.process import start_publication
from tests.components.reverse_etl.test_publication import kept, shown, tables, tables_of
from tests.shop import add_game
from tests.steam_recsys.publications.test_mongo import shown_in_mongo

pytestmark = pytest.mark.slow

KILLS, READERS = 50, 8
PAUSE_SECONDS = 0.05
"""Pause of a reader between two reads: without it, they would take all cores from the publications."""
USERS, SHARDS = 500, 8

# All that a reader can see in one statement: every row of both views, and an answer ready to show.
_READ = """
SELECT array_agg(DISTINCT r.version), count(*), array_agg(DISTINCT s.taste + s.popularity),
       (SELECT array_agg(DISTINCT p.version) FROM recsys.popular_games AS p),
       (SELECT array_agg(DISTINCT a.score) FROM recsys.recommended_games(%s) AS a)
FROM recsys.recommendations AS r, unnest(r.taste, r.popularity) AS s (taste, popularity)
"""


@dataclass
class Readings:
    """What readers saw: the duration of each read in seconds, and reads of incomplete versions."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)


@contextmanager
def readers(url: str, user: int) -> Iterator[Readings]:
    """Run eight readers that query in a loop, each over its own connection, while the context is open."""
    readings, stop = Readings(), threading.Event()

    def read() -> None:
        connection = psycopg2.connect(url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not stop.wait(PAUSE_SECONDS):
                started = time.perf_counter()
                cursor.execute(_READ, [user])
                (row,) = cursor.fetchall()
                readings.seconds.append(time.perf_counter() - started)
                if row != whole(int(row[0][0].removeprefix("v"))):
                    readings.wrong.append(row)
        connection.close()

    with ThreadPoolExecutor(READERS) as pool:
        running = [pool.submit(read) for _ in range(READERS)]
        try:
            yield readings
        finally:
            stop.set()
        for reader in running:
            reader.result()


def whole(number: int) -> tuple[object, ...]:
    """Return what a reader sees of version v<number>: that many users fewer, and the number as each score."""
    return [f"v{number}"], 2 * (USERS - number), [float(number)], [f"v{number}"], [float(number)]


@pytest.fixture
def ids(shop: Connection) -> tuple[list[int], list[int]]:
    """Users and games of the shop."""
    with shop.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.users (username) SELECT 'user ' || n FROM generate_series(1, %s) AS n RETURNING user_id",
            [USERS],
        )
        users = [user for (user,) in cursor.fetchall()]
    return users, [add_game(shop, f"Game {number}") for number in range(4)]


def write_version(root: Path, ids: tuple[list[int], list[int]], number: int) -> Path:
    users, games = ids
    mark = float(number)
    rows: list[Row] = [(user, games[:2], [mark, mark], [games[3], None]) for user in users[: USERS - number]]
    shards = [part.tolist() for part in np.array_split(np.arange(len(rows)), SHARDS)]
    folder = root / f"v{number}"
    return write_predictions(folder, [[rows[row] for row in part] for part in shards], [("", 1, games[2], mark)])


def test_killed_at_fifty_moments_readers_see_whole_versions_and_the_next_run_finishes(
    shop: Connection,
    database: str,
    ids: tuple[list[int], list[int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    postgres_url: str,
) -> None:
    random = np.random.default_rng(0)
    config = DestinationConfig(database)
    publish_version(database, write_version(tmp_path, ids, 1), "v1")
    killed = survived = 0
    with readers(postgres_url, ids[0][0]) as readings:
        for number in (2, 3):  # the second shows how long one takes, as the first starts the processes' server
            predictions = write_version(tmp_path, ids, number)
            started = time.perf_counter()
            process = start_publication(config, predictions, f"v{number}", user_ranges(predictions))
            process.join()
            usual = time.perf_counter() - started
            assert process.exitcode == 0
        while killed < KILLS:
            number += 1
            predictions = write_version(tmp_path, ids, number)
            ranges = user_ranges(predictions)
            started = time.perf_counter()
            process = start_publication(config, predictions, f"v{number}", ranges)
            process.join(timeout=random.random() * usual)
            if process.exitcode is not None:  # too late: they take less time than the first did
                usual = time.perf_counter() - started
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            before = shown(shop)[0]
            done = publish_version(database, predictions, f"v{number}", ranges)
            assert done.switched == (before != f"v{number}")
            survived += not done.switched
            assert shown(shop)[0] == f"v{number}"
            assert tables(shop) == tables_of(*(each.version for each in kept(database)))
    with capsys.disabled():
        print(
            f"\n{killed} publications killed within {usual:.2f} s of their start, {survived} had switched by then; "
            f"{len(readings.seconds):,} readings by {READERS} readers, {len(readings.wrong)} of no whole version, "
            f"the longest took {1e3 * max(readings.seconds):.0f} ms, the median {1e3 * np.median(readings.seconds):.0f}"
        )
    assert readings.wrong == []
    publish_version(database, predictions, f"v{number}", ranges)  # drops what a reader had locked
    assert [each.version for each in kept(database)] == [f"v{last}" for last in (number, number - 1, number - 2)]
    with shop.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'recsys' AND tablename LIKE 'part%'")
        assert cursor.fetchone() == (3 * 5,)


@pytest.mark.parametrize("recovery", ["reconcile", "rollback", "the same version", "another version"])
def test_a_kill_between_both_switches_is_repaired_by_the_next_command(
    shop: Connection,
    both: DestinationConfig,
    database: str,
    mongo: pymongo.database.Database,
    tmp_path: Path,
    recovery: str,
) -> None:
    for number in (1, 2):
        publish_version(both, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    predictions = marked(tmp_path / "3", shop, 3.0, users=2)
    ranges = user_ranges(predictions)
    process = start_publication(both, predictions, "v3", ranges, dies_between_both=True)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (shown(shop), shown_in_mongo(mongo)) == (("v2", 2.0, 2), ("v3", 3.0, 2))
    if recovery == "reconcile":
        assert reconcile(both) == "v2"
    elif recovery == "rollback":
        assert rollback(both) == "v1"
    elif recovery == "the same version":
        assert publish_version(both, predictions, "v3", ranges).switched
    else:
        publish_version(both, marked(tmp_path / "4", shop, 4.0, users=2), "v4")
        assert tables(shop) == tables_of("v1", "v2", "v4")
    expected = {"reconcile": 2.0, "rollback": 1.0, "the same version": 3.0, "another version": 4.0}[recovery]
    assert shown(shop) == shown_in_mongo(mongo) == (f"v{expected:.0f}", expected, 2)
    # MongoDB was switched to it, so it is a version like any other there until three others have been.
    assert publish_version(both, marked(tmp_path / "5", shop, 5.0, users=2), "v5").switched
    assert shown(shop) == shown_in_mongo(mongo) == ("v5", 5.0, 2)
