"""The stage: predictions → a version of `recsys`, made current when it is complete; and the way back.

A version's tables are filled in one transaction and become current in another, a short one. Whatever happens before
that leaves the readers with the version that they had.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import psycopg2

from components.reverse_etl.predictions import Predictions
from components.reverse_etl.switch import current_version, lock_switches, switch, transaction
from components.reverse_etl.tables import Tables, fill
from components.shared.console import log
from components.shared.database import Connection, Cursor, connect, create_schema, require_schema
from components.shared.errors import UserError
from components.shared.storage import open_folder

KEPT_VERSIONS = 3
"""How many versions stay in the database, the current one included: those that were current last."""


@dataclass(frozen=True)
class Publication:
    """What a publication did.

    Attributes:
        version: the version that was published.
        users: users with recommendations of their own.
        rows: games recommended, summed over the users.
        switched: whether it was made current now; False where it had been published before.
        seconds: wall time.
    """

    version: str
    users: int
    rows: int
    switched: bool
    seconds: float

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


@dataclass(frozen=True)
class KeptVersion:
    """A row of recsys.publications: a version that can be made current."""

    version: str
    model_version: str
    snapshot_id: str
    users: int
    rows: int
    as_of: date
    published_at: datetime
    current: bool


def publish(
    database: str,
    predictions: str,
    *,
    version: str,
    shards: int,
    model_version: str,
    snapshot_id: str,
    as_of: date,
) -> Publication:
    """Publish predictions as a version, make it current, and remove the predictions.

    A version that is published already is left alone, even where another is current: a retry does not undo a
    rollback. One that a dead run began is started over. Publications at the same time take turns.

    Args:
        database: a reference such as `env:DATABASE_URL`.
        predictions: the path or URI of a folder with `recommendations/shard-00000.parquet` and following, in the
            schema RECOMMENDATIONS, and `popular.parquet`.
        version: names the version's tables; letters, digits, dots, hyphens and underscores.
        shards: how many there must be.
        model_version: the model that made the predictions.
        snapshot_id: the snapshot that they were made from.
        as_of: the day that recent popularity was counted up to.

    Raises:
        UserError: the predictions are not as they must be, or the views cannot be changed; what was current stays so.
    """
    started = time.perf_counter()
    tables, folder = Tables.of(version), open_folder(predictions)
    with connect(database, application="steam-recsys publish") as connection:
        _prepare(connection)
        users, rows = _published(connection, version) or (0, 0)
        switched = not users
        if switched:
            complete = Predictions.open(folder, shards)
            users, rows = _load(connection, tables, complete, model_version, snapshot_id, as_of)
            switch(connection, lambda cursor: version)
            _drop_old_versions(connection)
    folder.remove("")
    done = Publication(version, users, rows, switched, round(time.perf_counter() - started, 3))
    what = "is current" if switched else "was published before, nothing is changed"
    log("reverse_etl", f"version {version} {what}: {users:,} users, {rows:,} recommended games")
    return done


def rollback(database: str, version: str | None = None) -> str:
    """Make a kept version current again.

    Args:
        database: a reference such as `env:DATABASE_URL`.
        version: None takes the one that was current last among those published before the current one.

    Returns:
        The version that is current now.

    Raises:
        UserError: the version is not kept, there is none to go back to, or the views cannot be changed.
    """
    with connect(database, application="steam-recsys rollback") as connection:
        require_schema(connection, "recsys")
        connection.commit()
        return switch(connection, lambda cursor: _target(cursor, version))


def kept_versions(database: str) -> list[KeptVersion]:
    """The versions that are kept, the newest publication first.

    Raises:
        UserError: nothing was ever published to this database.
    """
    with connect(database, application="steam-recsys list") as connection:
        require_schema(connection, "recsys")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT version, model_version, snapshot_id, users, rows, as_of, published_at, current "
                "FROM recsys.publications WHERE published_at IS NOT NULL ORDER BY published_at DESC"
            )
            return [KeptVersion(*row) for row in cursor.fetchall()]


def _prepare(connection: Connection) -> None:
    """Create the schema where it is missing, and wait until no other publication is under way."""
    require_schema(connection, "steam")
    create_schema(connection, "recsys")
    connection.commit()
    with transaction(connection) as cursor:
        # Held by the session, over all the transactions of this publication; it ends with the connection.
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('steam-recsys:recsys.publish'))")
        if cursor.fetchone() == (False,):
            log("reverse_etl", "another publication is under way, waiting for its end")
            cursor.execute("SELECT pg_advisory_lock(hashtext('steam-recsys:recsys.publish'))")


def _published(connection: Connection, version: str) -> tuple[int, int] | None:
    with transaction(connection) as cursor:
        cursor.execute(
            "SELECT users, rows FROM recsys.publications WHERE version = %s AND published_at IS NOT NULL", [version]
        )
        row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def _load(
    connection: Connection, tables: Tables, predictions: Predictions, model_version: str, snapshot_id: str, as_of: date
) -> tuple[int, int]:
    with transaction(connection) as cursor:
        # No other publication is under way: what was never published belongs to a run that died.
        cursor.execute("DELETE FROM recsys.publications WHERE published_at IS NULL RETURNING version")
        for (version,) in cursor.fetchall():
            Tables.of(version).drop(cursor)
            log("reverse_etl", f"dropped version {version}, which an earlier run left unfinished")
    with transaction(connection) as cursor:
        users, rows = fill(cursor, tables, predictions)
        cursor.execute(
            "INSERT INTO recsys.publications (version, model_version, snapshot_id, users, rows, as_of) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            [tables.version, model_version, snapshot_id, users, rows, as_of],
        )
    return users, rows


def _drop_old_versions(connection: Connection) -> None:
    try:
        with transaction(connection) as cursor:
            lock_switches(cursor)
            cursor.execute(
                "DELETE FROM recsys.publications WHERE NOT current AND version NOT IN "
                "(SELECT version FROM recsys.publications ORDER BY current DESC, made_current_at DESC LIMIT %s) "
                "RETURNING version",
                [KEPT_VERSIONS],
            )
            for (version,) in cursor.fetchall():
                Tables.of(version).drop(cursor)
                log("reverse_etl", f"dropped version {version}: the last {KEPT_VERSIONS} are kept")
    except psycopg2.errors.LockNotAvailable:
        log("reverse_etl", "an old version is still being read: the next publication drops it")


def _target(cursor: Cursor, version: str | None) -> str:
    current = current_version(cursor)
    if version is not None:
        cursor.execute(
            "SELECT version FROM recsys.publications WHERE version = %s AND published_at IS NOT NULL", [version]
        )
    else:
        # After a rollback and a new publication, that is the version rolled back to, not the one rolled back from.
        cursor.execute(
            "SELECT old.version FROM recsys.publications AS old JOIN recsys.publications AS new "
            "ON new.current AND old.published_at < new.published_at ORDER BY old.made_current_at DESC LIMIT 1"
        )
    if row := cursor.fetchone():
        return str(row[0])
    if version is None:
        raise UserError(f"There is no version before {current or 'the first'} to roll back to: publish a new one.")
    cursor.execute("SELECT string_agg(version, ', ' ORDER BY published_at DESC) FROM recsys.publications")
    kept = cursor.fetchone()
    raise UserError(f"The version {version} is not kept: choose one of {kept[0] if kept and kept[0] else 'none'}.")
