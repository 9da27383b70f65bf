"""Which version the views show: one short transaction changes it, and readers never wait for it for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import sql

from steam_recsys.database.connection import Connection, Cursor
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.postgres.tables import Tables

FIRST_LOCK_TIMEOUT_MS, LAST_LOCK_TIMEOUT_MS = 5, 40
"""How long a switch waits for the transactions that have read a view, and so how long others may wait behind it: at
first, and at last, as each try waits twice as long as the one before. There are two views to wait for.

Less than PostgreSQL's deadlock_timeout: where a switch and a reader wait for each other, the switch gives way.
"""

SWITCH_PATIENCE_SECONDS = 300.0
"""How long a switch is tried again before it is given up."""

_PAUSE_SECONDS = 0.5

# Readers wait from the first locked view to the commit: what can come before does, and the commit does not wait for the
# disk. The switch is durable, and only then reported, when the later change is.
_REPOINT = """
SET LOCAL synchronous_commit = off;
UPDATE recsys.publications SET current = false WHERE current;
WITH this (switch) AS (SELECT coalesce(max(last_switch), 0) + 1 FROM recsys.publications)
UPDATE recsys.publications
SET current = true, last_switch = switch, first_switch = coalesce(first_switch, switch),
    made_current_at = clock_timestamp(), published_at = coalesce(published_at, clock_timestamp())
FROM this WHERE version = {version};
CREATE OR REPLACE VIEW recsys.recommendations AS
    SELECT user_id, game_ids, scores, because, {version}::text AS version, {model_version}::text AS model_version
    FROM {recommendations};
CREATE OR REPLACE VIEW recsys.popular_games AS
    SELECT genre, rank, game_id, score, {version}::text AS version FROM {popular};
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
def transaction(connection: Connection) -> Iterator[Cursor]:
    """One of several transactions on a connection: committed at the end, rolled back on an error."""
    try:
        with connection.cursor() as cursor:
            yield cursor
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise
    connection.commit()


@contextmanager
def switching(connection: Connection, choose: Callable[[Cursor], str]) -> Iterator[str]:
    """Make a version current, in a transaction of its own that ends with the body; an error in the body undoes it.

    Readers wait while the body runs.

    Args:
        connection: outside a transaction.
        choose: names the version, under the lock that keeps other switches away. The views stay as they are where it
            names the current one.

    Raises:
        UserError: transactions that have read the views stayed open for `SWITCH_PATIENCE_SECONDS`.
    """
    version = _repointed(connection, choose)
    with transaction(connection):
        yield version
    with transaction(connection) as cursor:
        cursor.execute(_WAIT_FOR_THE_DISK)


def lock_switches(cursor: Cursor, timeout_ms: int = LAST_LOCK_TIMEOUT_MS) -> None:
    """Keep other switches away until the end of the transaction, which waits for no lock for longer."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{timeout_ms}ms"])
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('steam-recsys:recsys.switch'))")


def current_version(cursor: Cursor) -> str | None:
    """The version that the views show; None before the first publication."""
    cursor.execute("SELECT version FROM recsys.publications WHERE current")
    row = cursor.fetchone()
    return row[0] if row else None


def _repointed(connection: Connection, choose: Callable[[Cursor], str]) -> str:
    """Begin the transaction, with the views repointed to the version that was chosen."""
    deadline = time.monotonic() + SWITCH_PATIENCE_SECONDS
    timeout_ms = FIRST_LOCK_TIMEOUT_MS
    while True:
        try:
            with connection.cursor() as cursor:
                lock_switches(cursor, timeout_ms)
                version = choose(cursor)
                if version != current_version(cursor):
                    _repoint(cursor, version)
                return version
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            connection.rollback()
            sentence = _who_reads(connection)
            if time.monotonic() > deadline:
                raise UserError(f"The views of recsys cannot be changed, {sentence}: end it and try again.") from None
            log("reverse_etl", f"the switch waits, {sentence}")
            time.sleep(_PAUSE_SECONDS)
            timeout_ms = min(2 * timeout_ms, LAST_LOCK_TIMEOUT_MS)
        except BaseException:
            if not connection.closed:
                connection.rollback()
            raise


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


def _who_reads(connection: Connection) -> str:
    with transaction(connection) as cursor:
        cursor.execute(_READERS)
        row = cursor.fetchone()
    if row is None:
        return "another transaction holds them"
    return f"a transaction of process {row[0]} ({row[1]}) has read them and is still open"
