"""PostgreSQL as a destination: a version is a pair of tables, and the views of the schema `recsys` show one pair.

One short transaction repoints the views, and readers never wait for it for long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg2
from psycopg2 import sql

from steam_recsys.data.predictions import Predictions, Shard
from steam_recsys.database.connection import Connection, Cursor, connect
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.loading import (
    SAMPLED_USERS,
    CurrentVersion,
    Loader,
    Shop,
    Stored,
    VersionStats,
    known_games,
    known_users,
)
from steam_recsys.publications.personality import FIRST_GAMES
from steam_recsys.publications.postgres_tables import Tables
from steam_recsys.publications.versions import Choice, KeptVersion, VersionInfo, find_current

FIRST_LOCK_TIMEOUT_MS, LAST_LOCK_TIMEOUT_MS = 5, 40
"""How long a switch waits for the transactions that have read a view, and so how long others may wait behind it, for
each of the two views. The first try waits least; each later one waits twice as long, up to the last value.

Both are below PostgreSQL's deadlock_timeout: if a switch and a reader wait for each other, the switch gives way.
"""

SWITCH_PATIENCE_SECONDS = 300.0
"""How long a switch is tried again before it fails."""

UNFINISHED_LOCK_TIMEOUT = "2min"
"""How long to wait for the tables of a lost publisher: by then the server has ended its sessions."""

_PAUSE_SECONDS = 0.5

# The server ends the session, with its locks, within a minute after this machine is lost, but not while it only waits
# for the next batch.
_SESSION_SETTINGS = """
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET idle_in_transaction_session_timeout = 0;
"""

_KEPT = """
SELECT version, model_version, snapshot_id, as_of, users, rows, overlap, coverage, popular_ten,
       published_at, first_switch, last_switch, current
FROM recsys.publications WHERE first_switch IS NOT NULL ORDER BY first_switch DESC
"""

_REGISTER = """
INSERT INTO recsys.publications (version, model_version, snapshot_id, as_of, users, rows) VALUES (%s, %s, %s, %s, 0, 0)
"""

# Samples pages instead of rows, to read only a few pages.
_SAMPLE = """
SELECT user_id, game_ids[1:%s] FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0) WHERE list = 'relevance'
"""

_FIRST_GAMES = "SELECT user_id, game_ids[1:%s] FROM {} WHERE user_id = ANY (%s) AND list = 'relevance'"
_POPULAR = "SELECT game_id FROM {} WHERE list = 'popular' AND genre = '' ORDER BY rank"

_DESCRIBE = """
UPDATE recsys.publications
SET users = %s, rows = %s, overlap = %s, coverage = %s, popular_ten = %s
WHERE version = %s
"""

# Readers wait from the first locked view to the commit. So all that can be done before is done before, and the commit
# does not wait for the disk: the switch becomes durable, and is only then reported, with the next commit.
_REPOINT = """
SET LOCAL synchronous_commit = off;
UPDATE recsys.publications SET current = false WHERE current;
WITH this (switch) AS (SELECT coalesce(max(last_switch), 0) + 1 FROM recsys.publications)
UPDATE recsys.publications
SET current = true, last_switch = switch, first_switch = coalesce(first_switch, switch),
    made_current_at = clock_timestamp(), published_at = coalesce(published_at, clock_timestamp())
FROM this WHERE version = {version};
CREATE OR REPLACE VIEW recsys.recommendations AS
    SELECT user_id, list, game_ids, taste, popularity, because,
           {version}::text AS version, {model_version}::text AS model_version
    FROM {recommendations};
CREATE OR REPLACE VIEW recsys.popular_games AS
    SELECT list, genre, rank, game_id, score, {version}::text AS version FROM {popular};
"""

# For the reasons, which name the genres with the fewest games first.
_COUNT_GENRES = """
DELETE FROM recsys.genre_sizes;
INSERT INTO recsys.genre_sizes (genre_id, games) SELECT genre_id, count(*) FROM steam.game_genres GROUP BY genre_id;
"""

_WAIT_FOR_THE_DISK = "UPDATE recsys.publications SET current = current WHERE current"

_READERS = """
SELECT pid, coalesce(nullif(application_name, ''), 'without a name')
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation IN ('recsys.recommendations'::regclass, 'recsys.popular_games'::regclass) AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 1
"""


@contextmanager
def publishing_connection(reference: str) -> Iterator[Connection]:
    """Connect as `steam_recsys.database.connection.connect` does, for a session that must not outlive its publisher.

    Raises:
        UserError: As `connect`.
    """
    with connect(reference, application="steam-recsys publish") as connection:
        with connection.cursor() as cursor:
            cursor.execute(_SESSION_SETTINGS)
        connection.commit()
        yield connection


@contextmanager
def transaction(connection: Connection) -> Iterator[Cursor]:
    """Run one of several transactions on a connection: commit at the end, roll back on an error."""
    try:
        with connection.cursor() as cursor:
            yield cursor
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise
    connection.commit()


def lock_switches(cursor: Cursor, timeout_ms: int = LAST_LOCK_TIMEOUT_MS) -> None:
    """Keep other switches out until the end of the transaction, in which no lock is waited for longer than this."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{timeout_ms}ms"])
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('steam-recsys:recsys.switch'))")


def read_current_version(cursor: Cursor) -> str | None:
    """Read the name of the version that the views show; None before the first publication."""
    cursor.execute("SELECT version FROM recsys.publications WHERE current")
    row = cursor.fetchone()
    return row[0] if row else None


class PostgresDestination:
    """See `steam_recsys.publications.destinations.Destination`."""

    name = "PostgreSQL"

    def __init__(self, connection: Connection, reference: str) -> None:
        """Use a connection to a database that has the schema `recsys`.

        Args:
            connection: Connection that is in no transaction.
            reference: Reference to the database's URL, for further connections.
        """
        self._connection = connection
        self._reference = reference

    def kept_versions(self) -> list[KeptVersion]:
        """See `Destination.kept_versions`."""
        with transaction(self._connection) as cursor:
            return _read_kept_versions(cursor)

    def current_version(self) -> CurrentVersion | None:
        """See `Destination.current_version`."""
        with transaction(self._connection) as cursor:
            current = find_current(_read_kept_versions(cursor))
            if current is None:
                return None
            percent = min(100.0, 100.0 * SAMPLED_USERS / current.users)
            statement = sql.SQL(_SAMPLE).format(Tables(current.version).recommendations)
            cursor.execute(statement, [FIRST_GAMES, percent])
            return CurrentVersion(current.version, current.users, current.rows, dict(cursor.fetchall()))

    def first_games(self, version: str, users: Sequence[int], k: int) -> dict[int, list[int]]:
        """See `Destination.first_games`."""
        with transaction(self._connection) as cursor:
            statement = sql.SQL(_FIRST_GAMES).format(Tables(version).recommendations)
            cursor.execute(statement, [k, list(users)])
            return dict(cursor.fetchall())

    def popular_games(self, version: str) -> list[int]:
        """See `Destination.popular_games`."""
        with transaction(self._connection) as cursor:
            cursor.execute(sql.SQL(_POPULAR).format(Tables(version).popular))
            return [game for (game,) in cursor.fetchall()]

    def load(
        self, info: VersionInfo, predictions: Predictions, current: CurrentVersion | None
    ) -> tuple[VersionStats, Stored]:
        """See `Destination.load`. The version is registered first: if this run dies, the next one drops it."""
        tables, games = Tables(info.version), known_games(self._reference)
        with transaction(self._connection) as cursor:
            cursor.execute(_REGISTER, [info.version, info.model_version, info.snapshot_id, info.as_of])
            fallback_lists = predictions.popular(games)
            tables.create(cursor, fallback_lists)
        shop = Shop.from_fallback_lists(games, fallback_lists)
        loader = Loader(predictions, shop, current.sample if current else {})

        def load_part(number: int, part: list[Shard]) -> int:
            first, end = part[0].first, part[-1].last + 1
            with publishing_connection(self._reference) as connection, connection.cursor() as cursor:
                tables.create_partition(cursor, number, first, end)
                received = 0
                for shard in part:
                    users = known_users(self._reference, shard.first, shard.last)
                    received += tables.fill_partition(cursor, number, loader.batches(shard, users))
                tables.attach_partition(cursor, number, first, end)
            return received

        stats, received = loader.run(load_part)
        figures = stats.personality.measure(games)
        with transaction(self._connection) as cursor:
            cursor.execute(
                _DESCRIBE,
                [stats.users, stats.rows, figures.overlap, figures.coverage, figures.popular_ten, info.version],
            )
            cursor.execute(_COUNT_GENRES)
        return stats, Stored("lists", received, stats.lists)

    @contextmanager
    def switching(self, choose: Choice) -> Iterator[str]:
        """Make a version current when the body ends, unless it raises; readers wait while it runs.

        Args:
            choose: Chooses the version, while no other switch is running. The views stay as they are if it chooses the
                current version.

        Raises:
            UserError: Transactions that have read the views stayed open for `SWITCH_PATIENCE_SECONDS`.
        """
        version = self._begin_switch(choose)
        with transaction(self._connection):
            yield version
        with transaction(self._connection) as cursor:
            cursor.execute(_WAIT_FOR_THE_DISK)

    def drop_unfinished(self) -> None:
        """See `Destination.drop_unfinished`."""
        try:
            with transaction(self._connection) as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [UNFINISHED_LOCK_TIMEOUT])
                cursor.execute("DELETE FROM recsys.publications WHERE first_switch IS NULL RETURNING version")
                for (version,) in cursor.fetchall():
                    Tables(version).drop(cursor)
                    log("reverse_etl", f"dropped the unfinished version {version}")
        except psycopg2.errors.LockNotAvailable:
            raise UserError(
                "A connection of a lost publisher still holds the tables of its version: publish again in a minute, or "
                "end that connection."
            ) from None

    def drop(self, versions: Sequence[str]) -> None:
        """See `Destination.drop`."""
        for version in versions:
            try:
                with transaction(self._connection) as cursor:
                    lock_switches(cursor)
                    cursor.execute("DELETE FROM recsys.publications WHERE version = %s AND NOT current", [version])
                    if cursor.rowcount:
                        Tables(version).drop(cursor)
                        log("reverse_etl", f"dropped version {version}")
            except psycopg2.errors.LockNotAvailable:
                log("reverse_etl", f"version {version} is still being read: the next publication drops it")

    def _begin_switch(self, choose: Choice) -> str:
        """Begin a transaction in which the views are repointed to the chosen version; that version."""
        deadline = time.monotonic() + SWITCH_PATIENCE_SECONDS
        timeout_ms = FIRST_LOCK_TIMEOUT_MS
        while True:
            try:
                with self._connection.cursor() as cursor:
                    lock_switches(cursor, timeout_ms)
                    version = choose(_read_kept_versions(cursor))
                    if version != read_current_version(cursor):
                        _repoint(cursor, version)
                    return version
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
                self._connection.rollback()
                cause = self._describe_readers()
                if time.monotonic() > deadline:
                    raise UserError(f"The views of recsys cannot be changed, {cause}: end it and try again.") from None
                log("reverse_etl", f"the switch waits, {cause}")
                time.sleep(_PAUSE_SECONDS)
                timeout_ms = min(2 * timeout_ms, LAST_LOCK_TIMEOUT_MS)
            except BaseException:
                if not self._connection.closed:
                    self._connection.rollback()
                raise

    def _describe_readers(self) -> str:
        with transaction(self._connection) as cursor:
            cursor.execute(_READERS)
            row = cursor.fetchone()
        if row is None:
            return "another transaction holds them"
        return f"a transaction of process {row[0]} ({row[1]}) has read them and is still open"


def _read_kept_versions(cursor: Cursor) -> list[KeptVersion]:
    cursor.execute(_KEPT)
    return [KeptVersion(*row) for row in cursor.fetchall()]


def _repoint(cursor: Cursor, version: str) -> None:
    tables = Tables(version)
    cursor.execute("SELECT model_version FROM recsys.publications WHERE version = %s", [version])
    row = cursor.fetchone()
    assert row is not None  # a version is registered before it is filled
    cursor.execute(
        sql.SQL(_REPOINT).format(
            version=sql.Literal(version),
            model_version=sql.Literal(row[0]),
            recommendations=tables.recommendations,
            popular=tables.popular,
        )
    )
