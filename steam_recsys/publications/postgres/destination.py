"""PostgreSQL as a destination: a version is a pair of tables, and the views of the schema `recsys` show one pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg2
from psycopg2 import sql

from steam_recsys.data.predictions import POPULAR_FILE
from steam_recsys.database.connection import Connection, Cursor
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.known_ids import known_games, known_users
from steam_recsys.publications.loading import Loading, Part
from steam_recsys.publications.postgres.connections import publishing_connection
from steam_recsys.publications.postgres.switch import lock_switches, switching, transaction
from steam_recsys.publications.postgres.tables import Tables
from steam_recsys.publications.predictions import Predictions, read_popular
from steam_recsys.publications.version_stats import FIRST_GAMES, SAMPLED_USERS, Shown, VersionStats
from steam_recsys.publications.versions import Choice, KeptVersion, VersionInfo, current

UNFINISHED_LOCK_TIMEOUT = "2min"
"""How long what a lost publisher left is waited for: by then the server has ended its sessions."""

_KEPT = """
SELECT version, model_version, snapshot_id, as_of, users, rows, published_at, first_switch, last_switch, current
FROM recsys.publications WHERE first_switch IS NOT NULL ORDER BY first_switch DESC
"""

_REGISTER = """
INSERT INTO recsys.publications (version, model_version, snapshot_id, as_of, users, rows) VALUES (%s, %s, %s, %s, 0, 0)
"""

# Pages, not rows: as few are read as there are to be in the sample.
_SAMPLE = "SELECT user_id, game_ids[1:%s] FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0)"

_FIRST_GAMES = "SELECT user_id, game_ids[1:%s] FROM {} WHERE user_id = ANY (%s)"
_POPULAR = "SELECT game_id FROM {} WHERE genre = '' ORDER BY rank"


class PostgresDestination:
    """See `steam_recsys.publications.destinations.Destination`."""

    name = "PostgreSQL"

    def __init__(self, connection: Connection, reference: str) -> None:
        """Use a connection, outside a transaction, to the database of that reference, which has the schema recsys."""
        self._connection = connection
        self._reference = reference

    def kept(self) -> list[KeptVersion]:
        """See `Destination.kept`."""
        with transaction(self._connection) as cursor:
            return _kept(cursor)

    def shown(self) -> Shown | None:
        """See `Destination.shown`."""
        with transaction(self._connection) as cursor:
            now = current(_kept(cursor))
            if now is None:
                return None
            percent = min(100.0, 100.0 * SAMPLED_USERS / now.users)
            statement = sql.SQL(_SAMPLE).format(Tables(now.version).recommendations)
            cursor.execute(statement, [FIRST_GAMES, percent])
            return Shown(now.version, now.users, now.rows, dict(cursor.fetchall()))

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

    def load(self, made: VersionInfo, predictions: Predictions, shown: Shown | None) -> tuple[VersionStats, int]:
        """See `Destination.load`: the version is registered first, so that a later run finds what a dead one left."""
        tables, games = Tables(made.version), known_games(self._reference)
        with transaction(self._connection) as cursor:
            cursor.execute(_REGISTER, [made.version, made.model_version, made.snapshot_id, made.as_of])
            with predictions.folder.local_path(POPULAR_FILE) as path:
                tables.create(cursor, read_popular(path, games))
        loading = Loading(predictions, games, shown.sample if shown else {})

        def load(number: int, part: Part) -> int:
            first, end = part[0].first, part[-1].last + 1
            with publishing_connection(self._reference) as own, own.cursor() as cursor:
                tables.create_partition(cursor, number, first, end)
                users = 0
                for shard in part:
                    known = known_users(self._reference, shard.first, shard.last)
                    users += tables.fill_partition(cursor, number, loading.batches(shard, known))
                tables.attach_partition(cursor, number, first, end)
            return users

        census, stored = loading.run(load)
        with transaction(self._connection) as cursor:
            cursor.execute(
                "UPDATE recsys.publications SET users = %s, rows = %s WHERE version = %s",
                [census.users, census.rows, made.version],
            )
        return census, stored

    @contextmanager
    def switching(self, choose: Choice) -> Iterator[str]:
        """Make a version current when the body ends, unless that raises; readers wait while it runs.

        Raises:
            UserError: see `steam_recsys.publications.postgres.switch.switching`.
        """
        with switching(self._connection, lambda cursor: choose(_kept(cursor))) as version:
            yield version

    def drop_unfinished(self) -> None:
        """See `Destination.drop_unfinished`."""
        try:
            with transaction(self._connection) as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [UNFINISHED_LOCK_TIMEOUT])
                cursor.execute("DELETE FROM recsys.publications WHERE first_switch IS NULL RETURNING version")
                for (version,) in cursor.fetchall():
                    Tables(version).drop(cursor)
                    log("reverse_etl", f"dropped version {version}, which was left unfinished")
        except psycopg2.errors.LockNotAvailable:
            raise UserError(
                "A connection of a publisher that was lost still holds the tables of its version: publish again in a "
                "minute, or end that connection."
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


def _kept(cursor: Cursor) -> list[KeptVersion]:
    cursor.execute(_KEPT)
    return [KeptVersion(*row) for row in cursor.fetchall()]
