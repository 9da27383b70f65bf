"""An extraction that is held up in its middle, so that something can happen to it just then."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from psycopg2.extensions import connection as Connection

from components.extract.ranges import DIVISIONS
from tests.shop import add_game

REVIEWS = 40_000
"""In each of two ranges: megabytes on the wire, and tens of thousands of bytes as Parquet."""


def fill(connection: Connection) -> None:
    """A game and two ranges of reviews of it."""
    add_game(connection, "Portal")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO steam.users (username) SELECT 'user ' || n FROM generate_series(1, 100) n")
        cursor.execute(
            "INSERT INTO steam.reviews (review_id, user_id, game_id, recommended, helpful) "
            "SELECT (area::bigint << %s) + n, 1 + n %% 100, 1, true, abs(hashint4(n)::bigint) "
            "FROM generate_series(0, 1) area, generate_series(1, %s) n",
            [DIVISIONS["reviews"].bits, REVIEWS],
        )


@contextmanager
def rankings_locked() -> Iterator[Connection]:
    """Let nobody read the rankings, which an extraction reads last; gives a connection of its own for looking on."""
    with closing(_connected()) as locker, closing(_connected()) as watcher:
        watcher.autocommit = True
        with locker.cursor() as cursor:
            cursor.execute("LOCK TABLE steam.rankings IN ACCESS EXCLUSIVE MODE")
        yield watcher


def wait_until_halted(watcher: Connection) -> int:
    """Wait for an extraction that has come to the rankings; the process id of its backend."""
    with watcher.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'steam.rankings'::regclass "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if row := cursor.fetchone():
                return int(row[0])


def _connected() -> Connection:
    return psycopg2.connect(os.environ["DATABASE_URL"])
