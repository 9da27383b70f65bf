"""Halt an extraction part-way, so that a test can interfere."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from components.extract.parts import KEY_RANGES
from tests.shop import add_game

REVIEWS = 40_000
"""Reviews in each of two ranges: megabytes over the network, tens of kilobytes of Parquet."""


def fill(connection: Connection) -> None:
    """Add a game and two ranges of reviews of it."""
    add_game(connection, "Portal")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO steam.users (username) SELECT 'user ' || n FROM generate_series(1, 100) n")
        cursor.execute(
            "INSERT INTO steam.reviews (review_id, user_id, game_id, recommended, helpful) "
            "SELECT (key_range::bigint << %s) + n, 1 + n %% 100, 1, true, abs(hashint4(n)::bigint) "
            "FROM generate_series(0, 1) key_range, generate_series(1, %s) n",
            [KEY_RANGES["reviews"].bits, REVIEWS],
        )


@contextmanager
def rankings_locked() -> Iterator[Connection]:
    """Lock the rankings, which an extraction reads last. Yields another connection, to watch the extraction."""
    with closing(_connected()) as locker, closing(_connected()) as watcher:
        watcher.autocommit = True
        with locker.cursor() as cursor:
            cursor.execute("LOCK TABLE steam.rankings IN ACCESS EXCLUSIVE MODE")
        yield watcher


def wait_until_halted(watcher: Connection) -> int:
    """Wait until an extraction waits for the rankings, and return the process id of its backend."""
    deadline = time.monotonic() + 60
    with watcher.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'steam.rankings'::regclass "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if row := cursor.fetchone():
                return int(row[0])
            time.sleep(0.01)
    pytest.fail("The extraction does not wait for the rankings after 60 seconds.")


def _connected() -> Connection:
    return psycopg2.connect(os.environ["DATABASE_URL"])
