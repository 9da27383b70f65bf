"""PostgreSQL as a destination: a version is a pair of tables, and the views of the schema `recsys` show one pair.

One short transaction repoints the views, and readers never wait for it for long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psycopg2
from psycopg2 import sql

from steam_recsys.data.predictions import Predictions, Shard
from steam_recsys.database.connection import Connection, Cursor, connect
from steam_recsys.database.failures import UnavailableError
from steam_recsys.database.limits import DEFAULT, LONG_STATEMENTS, Limits
from steam_recsys.database.lock_watch import LockWatch
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.lease import APPLICATION, VERSIONS_APPLICATION, Lease
from steam_recsys.publications.loading import (
    SAMPLED_USERS,
    CurrentVersion,
    KnownGames,
    Loader,
    Stored,
    VersionStats,
    read_game_ids,
    read_user_ids,
)
from steam_recsys.publications.personalisation import FIRST_GAMES
from steam_recsys.publications.postgres_tables import Tables
from steam_recsys.publications.updates import VersionUpdate
from steam_recsys.publications.versions import Choice, KeptVersion, VersionInfo, find_current
from steam_recsys.secrets import resolve_secret

FIRST_LOCK_TIMEOUT_MS, LAST_LOCK_TIMEOUT_MS = 5, 40
"""How long a switch waits for the transactions that have read a view, and so how long others may wait behind it, for
each of the two views. The first try waits least; each later one waits twice as long, up to the last value.

Both are below PostgreSQL's deadlock_timeout: if a switch and a reader wait for each other, the switch gives way.
"""

SWITCH_PATIENCE_SECONDS = 300.0
"""How long a switch is tried again before it fails."""

UNFINISHED_LIMITS = Limits(lock=120)
"""How long to wait for the tables of a lost publisher: by then the server has ended its sessions."""

_PAUSE_SECONDS = 0.5

_LOOK_SECONDS = 0.005
"""How often to look who holds a lock during a try: several times before it ends."""

_BLIND_TRIES = 20
"""How many more times a switch is tried after the last one, to see who holds it up."""

_KEPT = """
SELECT version, model_version, snapshot_id, as_of, control_share, users, rows, overlap, coverage, popular_ten,
       published_at, first_switch, last_switch, current, refreshed_snapshot_id
FROM recsys.publications WHERE first_switch IS NOT NULL ORDER BY first_switch DESC
"""

_REGISTER = """
INSERT INTO recsys.publications (version, model_version, snapshot_id, as_of, control_share, users, rows)
VALUES (%s, %s, %s, %s, %s, 0, 0) ON CONFLICT DO NOTHING
"""

# Samples pages instead of rows, to read only a few pages.
_SAMPLE = """
SELECT user_id, game_ids[1:%s] FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0) WHERE list = 'relevance'
"""

# As they were published: a refresh excludes the games that have been reviewed since, by which a version is measured.
_FIRST_GAMES = """
WITH replaced AS (
    SELECT user_id, game_ids FROM recsys.replaced_lists WHERE version = %(version)s AND user_id = ANY (%(users)s)
)
SELECT user_id, game_ids[1:%(k)s] FROM replaced WHERE game_ids <> '{{}}'
UNION ALL
SELECT user_id, game_ids[1:%(k)s] FROM {}
WHERE user_id = ANY (%(users)s) AND list = 'relevance' AND user_id NOT IN (SELECT user_id FROM replaced)
"""
_POPULAR = """
SELECT coalesce(published_popular, ARRAY(SELECT game_id FROM {} WHERE list = 'popular' AND genre = '' ORDER BY rank))
FROM recsys.publications WHERE version = %s
"""

_DESCRIBE = """
UPDATE recsys.publications
SET users = %s, rows = %s, overlap = %s, coverage = %s, popular_ten = %s
WHERE version = %s
"""

_UPDATED = """
UPDATE recsys.publications
SET users = users + %s, rows = rows + %s, refreshed_snapshot_id = %s, refreshed_at = clock_timestamp()
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

# For the reasons, which name the genres with the fewest games first, and for what a shop shows of a game.
_COUNT = """
DELETE FROM recsys.genre_sizes;
INSERT INTO recsys.genre_sizes (genre_id, games) SELECT genre_id, count(*) FROM steam.game_genres GROUP BY genre_id;
DELETE FROM recsys.game_reviews;
INSERT INTO recsys.game_reviews (game_id, reviews, positive_share)
    SELECT game_id, count(*), avg(recommended::integer) FROM steam.reviews GROUP BY game_id;
"""

_FORGET_UNFINISHED = "DELETE FROM recsys.publications WHERE version = %s AND first_switch IS NULL"
_WAIT_FOR_THE_DISK = "UPDATE recsys.publications SET current = current WHERE current"


def lock_switches(cursor: Cursor, timeout_ms: int = LAST_LOCK_TIMEOUT_MS) -> None:
    """Keep other switches out until the end of the transaction, in which no lock is waited for longer than this.

    It locks a row, not an advisory lock, which any role might take.
    """
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{timeout_ms}ms"])
    cursor.execute("SELECT FROM recsys.lease WHERE name = 'switch' FOR UPDATE")


def read_current_version(cursor: Cursor) -> str | None:
    """Read the name of the version that the views show; None before the first publication."""
    cursor.execute("SELECT version FROM recsys.publications WHERE current")
    row = cursor.fetchone()
    return row[0] if row else None


class PostgresDestination:
    """See `steam_recsys.publications.destinations.Destination`."""

    name = "PostgreSQL"

    def __init__(self, reference: str, lease: Lease | None = None) -> None:
        """Use a database that has the schema `recsys`; each transaction has its own connection.

        Args:
            reference: Reference to the database's URL.
            lease: The lease that loading and dropping need; a rollback switches without one.
        """
        self._reference = reference
        self._lease = lease
        self._application = APPLICATION if lease else VERSIONS_APPLICATION

    def kept_versions(self) -> list[KeptVersion]:
        """See `Destination.kept_versions`."""
        with self._transaction() as cursor:
            return _read_kept_versions(cursor)

    def current_version(self) -> CurrentVersion | None:
        """See `Destination.current_version`."""
        with self._transaction() as cursor:
            current = find_current(_read_kept_versions(cursor))
            if current is None:
                return None
            percent = min(100.0, 100.0 * SAMPLED_USERS / max(1, current.users))
            statement = sql.SQL(_SAMPLE).format(Tables(current.version).recommendations)
            cursor.execute(statement, [FIRST_GAMES, percent])
            return CurrentVersion.sampled(current, dict(cursor.fetchall()))

    def first_games(self, version: str, users: Sequence[int], k: int) -> dict[int, list[int]]:
        """See `Destination.first_games`."""
        with self._transaction() as cursor:
            statement = sql.SQL(_FIRST_GAMES).format(Tables(version).recommendations)
            cursor.execute(statement, {"k": k, "version": version, "users": list(users)})
            return dict(cursor.fetchall())

    def popular_games(self, version: str) -> list[int]:
        """See `Destination.popular_games`."""
        with self._transaction() as cursor:
            cursor.execute(sql.SQL(_POPULAR).format(Tables(version).popular), [version])
            ((games,),) = cursor.fetchall()
            return list(games)

    def load(
        self, info: VersionInfo, predictions: Predictions, current: CurrentVersion | None
    ) -> tuple[VersionStats, Stored]:
        """See `Destination.load`. The version is registered first: if this run dies, the next one drops it."""
        tables, games = Tables(info.version), read_game_ids(self._reference)
        fallback_lists = predictions.popular(games)
        with self._transaction() as cursor:
            cursor.execute(
                _REGISTER, [info.version, info.model_version, info.snapshot_id, info.as_of, info.control_share]
            )
            if not cursor.rowcount:
                raise UserError(
                    f"An unfinished version {info.version} could not be dropped, see above: drop what depends on its "
                    f"tables, then run again."
                )
            tables.create(cursor, fallback_lists)
            self._check_lease(cursor)
        with self._transaction(LONG_STATEMENTS) as cursor:  # it reads all reviews
            cursor.execute(_COUNT)
            self._check_lease(cursor)
        known = KnownGames.from_fallback_lists(games, fallback_lists)
        loader = Loader(predictions, known, current.sample if current else {})

        def load_part(number: int, part: list[Shard]) -> int:
            first, end = part[0].first, part[-1].last + 1
            with self._transaction(LONG_STATEMENTS) as cursor:
                tables.create_partition(cursor, number, first, end)
                received = 0
                for shard in part:
                    users = read_user_ids(self._reference, shard.first, shard.last)
                    received += tables.fill_partition(cursor, number, loader.batches(shard, users))
                tables.attach_partition(cursor, number, first, end)
                self._check_lease(cursor)
            return received

        stats, received = loader.run(load_part)
        figures = stats.personalisation.measure(games)
        with self._transaction() as cursor:
            tables.create_default_partition(cursor)
            cursor.execute(
                _DESCRIBE,
                [stats.users, stats.rows, figures.overlap, figures.coverage, figures.popular_ten, info.version],
            )
            self._check_lease(cursor)
        return stats, Stored("lists", received, stats.lists)

    def update(self, cursor: Cursor, update: VersionUpdate) -> None:
        """Update the current version; readers see it when the cursor's transaction is committed.

        Args:
            cursor: Cursor of a transaction that keeps other switches out.
            update: The update.
        """
        users, rows = Tables(update.version).update(cursor, update)
        cursor.execute(_UPDATED, [users, rows, update.snapshot_id, update.version])

    @contextmanager
    def switching(self, choose: Choice) -> Iterator[str]:
        """Make a version current when the body ends, unless it raises; readers wait while it runs.

        Args:
            choose: Chooses the version, while no other switch is running. The views stay as they are if it chooses the
                current version.

        Raises:
            UserError: Transactions that have read the views stayed open for `SWITCH_PATIENCE_SECONDS`.
        """
        with connect(self._reference, application=self._application) as connection:
            version = self._begin_switch(connection, choose)
            yield version
        with self._transaction() as cursor:
            cursor.execute(_WAIT_FOR_THE_DISK)

    def drop_unfinished(self) -> None:
        """See `Destination.drop_unfinished`."""
        with self._transaction() as cursor:
            cursor.execute("SELECT version FROM recsys.publications WHERE first_switch IS NULL")
            unfinished = [version for (version,) in cursor.fetchall()]
        for version in unfinished:
            with self._transaction(UNFINISHED_LIMITS) as cursor:
                cursor.execute(_FORGET_UNFINISHED, [version])
                if dependents := Tables(version).drop(cursor):
                    cursor.connection.rollback()
                    log("reverse_etl", f"the unfinished version {version} is kept, as {dependents}: drop that")
                    continue
                self._check_lease(cursor)
            log("reverse_etl", f"dropped the unfinished version {version}")

    def drop(self, versions: Sequence[str]) -> None:
        """See `Destination.drop`. A version that others' objects depend on is kept, such as one with a shop's view."""
        for version in versions:
            with self._transaction() as cursor:
                try:
                    self._check_lease(cursor)
                    lock_switches(cursor)
                    cursor.execute("DELETE FROM recsys.publications WHERE version = %s AND NOT current", [version])
                    if not cursor.rowcount:
                        continue
                    dependents = Tables(version).drop(cursor)
                except psycopg2.errors.LockNotAvailable:
                    cursor.connection.rollback()
                    log(
                        "reverse_etl",
                        f"version {version} is locked by a transaction: the next publication drops it",
                    )
                    continue
                if dependents:
                    cursor.connection.rollback()
                    log("reverse_etl", f"version {version} is kept, as {dependents}: drop that, or leave it")
                    continue
            log("reverse_etl", f"dropped version {version}")

    @contextmanager
    def _transaction(self, limits: Limits = DEFAULT) -> Iterator[Cursor]:
        """Open one transaction on a connection of its own."""
        connected = connect(self._reference, application=self._application, limits=limits)
        with connected as connection, connection.cursor() as cursor:
            yield cursor

    def _check_lease(self, cursor: Cursor) -> None:
        if self._lease is not None:
            self._lease.check(cursor)

    def _begin_switch(self, connection: Connection, choose: Choice) -> str:
        """Begin a transaction in which the views are repointed to the chosen version; that version."""
        deadline = time.monotonic() + SWITCH_PATIENCE_SECONDS
        timeout_ms, tries_left = FIRST_LOCK_TIMEOUT_MS, _BLIND_TRIES
        watch = LockWatch(resolve_secret(self._reference), connection, self._application, look_seconds=_LOOK_SECONDS)
        with ExitStack() as watching:
            while True:
                try:
                    with connection.cursor() as cursor:
                        self._check_lease(cursor)
                        lock_switches(cursor, timeout_ms)
                        version = choose(_read_kept_versions(cursor))
                        if version != read_current_version(cursor):
                            _repoint(cursor, version)
                        return version
                except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
                    blockers = watch.blockers
                    connection.rollback()
                if timeout_ms == FIRST_LOCK_TIMEOUT_MS:  # most switches succeed at the first try
                    watching.enter_context(watch)
                elif time.monotonic() > deadline and (blockers or not tries_left):
                    raise UnavailableError(
                        f"The views of recsys cannot be changed, as {blockers or 'another transaction'} holds a lock: "
                        f"end that transaction, then try again."
                    )
                else:
                    tries_left -= time.monotonic() > deadline
                    log("reverse_etl", f"the switch waits for {blockers or 'another transaction'}")
                    time.sleep(_PAUSE_SECONDS)
                timeout_ms = min(2 * timeout_ms, LAST_LOCK_TIMEOUT_MS)


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
