"""The tables of a version in PostgreSQL: their names, how they are made, and how they are dropped.

Users are partitioned by ranges of their ids, so that each partition can be filled on a connection of its own. Every
table is filled in the transaction that makes it: COPY may then mark its rows as frozen, which spares the vacuum that
would come later, and lets a transaction that took its snapshot before this one ended, and reads the view after the
switch, see the new version whole. Without it, it would see an empty one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
from psycopg2 import sql

from steam_recsys.database.connection import Cursor
from steam_recsys.database.copy import copy_from_chunks
from steam_recsys.publications.postgres.copy_format import binary_copy, csv_copy

_COPY = "COPY {} FROM STDIN WITH (FREEZE, FORMAT {})"

_CREATE = """
CREATE TABLE {recommendations} (
    user_id bigint PRIMARY KEY,
    game_ids integer[] NOT NULL,
    scores real[] NOT NULL,
    because integer[] NOT NULL
) PARTITION BY RANGE (user_id);
CREATE TABLE {popular} (
    genre text NOT NULL,
    rank integer NOT NULL,
    game_id integer NOT NULL,
    score real NOT NULL
);
"""

_INDEX_POPULAR = """
ALTER TABLE {popular} ADD PRIMARY KEY (genre, rank), ADD UNIQUE (genre, game_id);
CREATE INDEX ON {popular} (lower(genre));
ANALYZE {popular};
"""

_CREATE_PARTITION = "CREATE TABLE {} (LIKE {}, CHECK (user_id >= {} AND user_id < {}))"

# The key's index is built here, once, and not while the partition is attached, which others wait for; the CHECK spares
# the reading of all rows. The arrays' statistics would take as long as the load, and nobody searches in them.
_ATTACH = """
ALTER TABLE {partition} ADD PRIMARY KEY (user_id);
ANALYZE {partition} (user_id);
ALTER TABLE {recommendations} ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({end});
"""


@dataclass(frozen=True)
class Tables:
    """The tables of a version."""

    version: str

    @property
    def recommendations(self) -> sql.Identifier:
        """The table behind the view `recsys.recommendations`."""
        return sql.Identifier("recsys", f"recommendations_{self.version}")

    @property
    def popular(self) -> sql.Identifier:
        """The table behind the view `recsys.popular_games`."""
        return sql.Identifier("recsys", f"popular_{self.version}")

    def partition(self, number: int) -> sql.Identifier:
        """A partition of the recommendations."""
        return sql.Identifier("recsys", f"part_{number}_{self.version}")

    def create(self, cursor: Cursor, popular: pa.Table) -> None:
        """Make both, the popular games filled, the recommendations without a partition."""
        cursor.execute(sql.SQL(_CREATE).format(recommendations=self.recommendations, popular=self.popular))
        copy_from_chunks(cursor, sql.SQL(_COPY).format(self.popular, sql.SQL("csv")), [csv_copy(popular)])
        cursor.execute(sql.SQL(_INDEX_POPULAR).format(popular=self.popular))

    def create_partition(self, cursor: Cursor, number: int, first: int, end: int) -> None:
        """Make a partition for the users from `first` to before `end`."""
        bounds = (sql.Literal(first), sql.Literal(end))
        cursor.execute(sql.SQL(_CREATE_PARTITION).format(self.partition(number), self.recommendations, *bounds))

    def fill_partition(self, cursor: Cursor, number: int, batches: Iterable[pa.RecordBatch]) -> int:
        """Put batches of RECOMMENDATIONS into a partition; how many users arrived, as the server counts them."""
        statement = sql.SQL(_COPY).format(self.partition(number), sql.SQL("binary"))
        return copy_from_chunks(cursor, statement, binary_copy(batches))

    def attach_partition(self, cursor: Cursor, number: int, first: int, end: int) -> None:
        """Index and analyse a partition and make it part of the recommendations."""
        cursor.execute(
            sql.SQL(_ATTACH).format(
                partition=self.partition(number),
                recommendations=self.recommendations,
                first=sql.Literal(first),
                end=sql.Literal(end),
            )
        )

    def drop(self, cursor: Cursor) -> None:
        """Drop all where they exist; the partitions go with the table that they are attached to."""
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self.recommendations, self.popular))
