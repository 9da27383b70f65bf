"""A version's tables: filled, checked and indexed in one transaction, and dropped when they are of no more use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2 import sql

from components.reverse_etl.copy_format import binary_copy, csv_copy
from components.reverse_etl.predictions import Predictions, check_known, read_popular, read_shard
from components.shared.console import progress
from components.shared.copying import copy_from_chunks
from components.shared.database import Cursor
from components.shared.errors import UserError
from components.shared.predictions import POPULAR_FILE

# Nothing that was in a table before could be lost: FREEZE is allowed because the transaction made the table. It spares
# the vacuum that would come later, and a transaction that took its snapshot before this one ended, and reads the view
# after the switch, sees the new version whole: without it, it would see an empty one.
_COPY = "COPY {} FROM STDIN WITH (FREEZE, FORMAT {})"

_CREATE = """
CREATE TABLE {recommendations} (
    user_id bigint NOT NULL,
    game_ids integer[] NOT NULL,
    scores real[] NOT NULL,
    because integer[] NOT NULL
);
CREATE TABLE {popular} (
    genre text NOT NULL,
    rank integer NOT NULL,
    game_id integer NOT NULL,
    score real NOT NULL
);
"""

_UNKNOWN_USERS = """
SELECT count(*), count(*) FILTER (WHERE users.user_id IS NULL), min(made.user_id) FILTER (WHERE users.user_id IS NULL)
FROM {} AS made LEFT JOIN steam.users AS users ON users.user_id = made.user_id
"""


@dataclass(frozen=True)
class Tables:
    """The names of a version's two tables."""

    version: str

    @classmethod
    def of(cls, version: str) -> Tables:
        """The tables of a version.

        Raises:
            UserError: the version cannot be part of a table's name.
        """
        # PostgreSQL cuts names after 63 bytes, which would make two long versions one. `popular_games` is a view.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,46}", version) or version == "games":
            raise UserError(
                f"The version {version!r} cannot name a table: "
                "use at most 47 letters, digits, dots, hyphens and underscores, and another name than games."
            )
        return cls(version)

    @property
    def recommendations(self) -> sql.Identifier:
        """The table behind the view `recsys.recommendations`."""
        return sql.Identifier("recsys", f"recommendations_{self.version}")

    @property
    def popular(self) -> sql.Identifier:
        """The table behind the view `recsys.popular_games`."""
        return sql.Identifier("recsys", f"popular_{self.version}")

    def drop(self, cursor: Cursor) -> None:
        """Drop both where they exist."""
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self.recommendations, self.popular))


def fill(cursor: Cursor, tables: Tables, predictions: Predictions) -> tuple[int, int]:
    """Create a version's tables and fill, check, index and analyse them; the caller commits.

    Returns:
        The number of users and the number of games recommended to them.

    Raises:
        UserError: the predictions are not as they must be.
    """
    cursor.execute(sql.SQL(_CREATE).format(recommendations=tables.recommendations, popular=tables.popular))
    known = _known_games(cursor)
    with predictions.folder.fetched(POPULAR_FILE) as path:
        _copy_popular(cursor, tables, path, known)
    users = rows = 0
    for number, name in enumerate(predictions.shards, start=1):
        with predictions.folder.fetched(name) as path:
            shard = _Shard(path, known)
            stored = _copy_shard(cursor, tables, shard)
        users, rows = users + shard.users, rows + shard.rows
        if stored != shard.users:
            raise UserError(f"{name} has {shard.users:,} users, {stored:,} arrived in the database: publish again.")
        progress("reverse_etl", f"shard {number} of {len(predictions.shards)}: {users:,} users so far")
    if not users:
        raise UserError(f"The shards in {predictions.folder.uri} hold no rows: train and predict again.")
    _index(cursor, tables)
    _check_users(cursor, tables, users)
    return users, rows


class _Shard:
    """A shard on its way into the database; counts its users and games as they pass."""

    def __init__(self, path: Path, known_games: pa.Array) -> None:
        self.path = path
        self.known_games = known_games
        self.users = self.rows = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The shard's rows, with every game known."""
        for batch in read_shard(self.path):
            games, because = batch.column("game_ids").flatten(), batch.column("because").flatten()
            named = pa.chunked_array([games.unique(), because.unique().drop_null()]).combine_chunks()
            check_known(named, self.known_games, self.path.name)
            self.users += len(batch)
            self.rows += len(games)
            yield batch


def _copy_shard(cursor: Cursor, tables: Tables, shard: _Shard) -> int:
    statement = sql.SQL(_COPY).format(tables.recommendations, sql.SQL("binary"))
    return copy_from_chunks(cursor, statement, binary_copy(shard.batches()))


def _copy_popular(cursor: Cursor, tables: Tables, path: Path, known_games: pa.Array) -> None:
    popular = read_popular(path)
    check_known(pc.unique(popular["game_id"]), known_games, path.name)
    copy_from_chunks(cursor, sql.SQL(_COPY).format(tables.popular, sql.SQL("csv")), [csv_copy(popular)])
    try:
        cursor.execute(
            sql.SQL("ALTER TABLE {0} ADD PRIMARY KEY (genre, rank), ADD UNIQUE (genre, game_id)").format(tables.popular)
        )
    except psycopg2.errors.UniqueViolation as error:
        raise UserError(
            f"{path.name} has a rank or a game twice in one list ({error.diag.message_detail}): predict again."
        ) from None
    cursor.execute(sql.SQL("CREATE INDEX ON {} (lower(genre), genre)").format(tables.popular))
    cursor.execute(sql.SQL("ANALYZE {}").format(tables.popular))


def _known_games(cursor: Cursor) -> pa.Array:
    cursor.execute("SELECT game_id FROM steam.games")
    return pa.array([game_id for (game_id,) in cursor.fetchall()], pa.int32())


def _index(cursor: Cursor, tables: Tables) -> None:
    try:
        cursor.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (user_id)").format(tables.recommendations))
    except psycopg2.errors.UniqueViolation as error:
        user = re.search(r"\d+", (error.diag.message_detail or "").partition("=")[2])
        raise UserError(
            f"The shards hold user {user[0] if user else '?'} more than once: predict again into an empty folder."
        ) from None
    # The arrays' statistics would take as long as the load, and nobody searches in them.
    cursor.execute(sql.SQL("ANALYZE {} (user_id)").format(tables.recommendations))


def _check_users(cursor: Cursor, tables: Tables, users: int) -> None:
    cursor.execute(sql.SQL(_UNKNOWN_USERS).format(tables.recommendations))
    row = cursor.fetchone()
    assert row is not None  # a query without GROUP BY has one
    stored, unknown, example = row
    if stored != users:
        raise UserError(f"The shards have {users:,} users, the table {stored:,}: publish again.")
    if unknown:
        raise UserError(
            f"The shards hold {unknown:,} users that steam.users does not, {example} for one: "
            "extract a new snapshot from this database and predict again."
        )
