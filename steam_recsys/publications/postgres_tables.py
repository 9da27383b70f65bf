"""The tables of a version in PostgreSQL: creating, filling and dropping them.

Recommendations are partitioned by ranges of user ids, so that each partition can be filled over its own connection.
Every table is filled in the transaction that creates it, so that COPY can freeze its rows. That spares a later vacuum.
It also lets a transaction that took its snapshot before the load ended, and that reads the view after the switch, see
the complete new version; without it, that transaction would see an empty one.

Rows are sent in COPY's binary format (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"): the
server reads it four times as fast as text, most of which would be numbers to parse, and they arrive bit by bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
from psycopg2 import sql

from steam_recsys.data.predictions import EqualLists, equal_lists
from steam_recsys.database.connection import Cursor
from steam_recsys.database.copy import HEADER, TRAILER, copy_from_chunks

_COPY = "COPY {} FROM STDIN WITH (FREEZE, FORMAT {})"

_CREATE = """
CREATE TABLE {recommendations} (
    user_id bigint NOT NULL,
    list text COLLATE "C" NOT NULL,
    game_ids integer[] NOT NULL,
    taste real[] NOT NULL,
    popularity real[] NOT NULL,
    because integer[] NOT NULL,
    PRIMARY KEY (user_id, list)
) PARTITION BY RANGE (user_id);
CREATE TABLE {popular} (
    list text COLLATE "C" NOT NULL,
    genre text NOT NULL,
    rank integer NOT NULL,
    game_id integer NOT NULL,
    score real NOT NULL
);
"""

_INDEX_POPULAR = """
ALTER TABLE {popular} ADD PRIMARY KEY (list, genre, rank), ADD UNIQUE (list, genre, game_id);
CREATE INDEX ON {popular} (list, lower(genre), rank);
ANALYZE {popular};
"""

# The longest lists take four kilobytes. They are kept in the row: a reader would otherwise fetch and unpack each column
# from another table, and COPY would have to write it there.
_CREATE_PARTITION = """
CREATE TABLE {} (LIKE {}, CHECK (user_id >= {} AND user_id < {})) WITH (toast_tuple_target = 8160)
"""

# The key's index is built before the partition is attached, as others wait for that. Because of the CHECK, attaching
# does not read all rows. Statistics of the arrays would take as long as the load, and no query searches them.
_ATTACH = """
ALTER TABLE {partition} ADD PRIMARY KEY (user_id, list);
ANALYZE {partition} (user_id, list);
ALTER TABLE {recommendations} ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({end});
"""

_ELEMENTS = {"game_ids": (23, ">i4"), "taste": (700, ">f4"), "popularity": (700, ">f4"), "because": (23, ">i4")}
"""For each column of lists: the OID of its elements' type, the same on every server, and their format."""


@dataclass(frozen=True)
class Tables:
    """A version's tables: their names, and the statements that create, attach and drop them."""

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
        """Create both tables: fill the popular games, and leave the recommendations without partitions."""
        cursor.execute(sql.SQL(_CREATE).format(recommendations=self.recommendations, popular=self.popular))
        copy_from_chunks(cursor, sql.SQL(_COPY).format(self.popular, sql.SQL("csv")), [csv_copy(popular)])
        cursor.execute(sql.SQL(_INDEX_POPULAR).format(popular=self.popular))

    def create_partition(self, cursor: Cursor, number: int, first: int, end: int) -> None:
        """Create a partition for the users from `first` to before `end`."""
        bounds = (sql.Literal(first), sql.Literal(end))
        cursor.execute(sql.SQL(_CREATE_PARTITION).format(self.partition(number), self.recommendations, *bounds))

    def fill_partition(self, cursor: Cursor, number: int, batches: Iterable[pa.RecordBatch]) -> int:
        """Copy batches of RECOMMENDATIONS into a partition; the number of rows, as the server counts them."""
        statement = sql.SQL(_COPY).format(self.partition(number), sql.SQL("binary"))
        return copy_from_chunks(cursor, statement, binary_copy(batches))

    def attach_partition(self, cursor: Cursor, number: int, first: int, end: int) -> None:
        """Index and analyse a partition, and attach it to the recommendations."""
        cursor.execute(
            sql.SQL(_ATTACH).format(
                partition=self.partition(number),
                recommendations=self.recommendations,
                first=sql.Literal(first),
                end=sql.Literal(end),
            )
        )

    def drop(self, cursor: Cursor) -> None:
        """Drop the tables that exist, attached partitions included."""
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self.recommendations, self.popular))


def binary_copy(batches: Iterable[pa.RecordBatch]) -> Iterator[memoryview]:
    """Convert batches of RECOMMENDATIONS to chunks of the binary COPY format."""
    rows = (_rows(batch, lists) for batch in batches for lists in equal_lists(batch))
    return chain([memoryview(HEADER)], rows, [memoryview(TRAILER)])


def csv_copy(table: pa.Table) -> bytes:
    """Convert a small table to COPY's CSV format, with strings in quotes: an unquoted empty string would be a null."""
    text = io.BytesIO()
    pv.write_csv(table, text, pv.WriteOptions(include_header=False, quoting_style="needed"))
    return text.getvalue()


def _rows(batch: pa.RecordBatch, lists: EqualLists) -> memoryview:
    """Build a matrix of those rows of a batch, then remove the values of nulls."""
    name = lists.name.encode()
    rows = np.empty(len(lists.rows), _row_type(len(name), lists.length))
    rows["fields"] = 2 + len(_ELEMENTS)
    rows["user_id"]["bytes"] = 8
    rows["user_id"]["value"] = batch.column("user_id").to_numpy()[lists.rows]
    rows["list"]["bytes"] = len(name)
    rows["list"]["value"] = name
    dropped = None
    for column, (oid, _) in _ELEMENTS.items():
        elements = batch.column(column).flatten()
        rows[column]["bytes"] = 20 + 8 * lists.length
        rows[column]["dimensions"] = 1
        rows[column]["has_nulls"] = 0
        rows[column]["oid"] = oid
        rows[column]["length"] = lists.length
        rows[column]["first"] = 1
        rows[column]["elements"]["bytes"] = 4
        if not elements.null_count:
            rows[column]["elements"]["value"] = lists.matrix(elements.to_numpy())
            continue
        nulls = lists.matrix(elements.is_null().to_numpy(zero_copy_only=False))
        rows[column]["elements"]["value"] = lists.matrix(elements.fill_null(0).to_numpy())
        if nulls.any():
            rows[column]["elements"]["bytes"][nulls] = -1
            rows[column]["bytes"] -= 4 * nulls.sum(axis=1)
            rows[column]["has_nulls"] = 1
            dropped = np.zeros(len(rows), rows.dtype) if dropped is None else dropped
            dropped[column]["elements"]["value"].view(">i4")[nulls] = -1  # all bits are set in what is dropped
    content = rows.view(np.uint8)
    return (content if dropped is None else content[dropped.view(np.uint8) == 0]).data


def _row_type(name: int, length: int) -> np.dtype[np.void]:
    """The layout of a row whose list's name has `name` bytes, and whose lists have `length` elements."""
    keys: list[tuple[Any, ...]] = [
        ("fields", ">i2"),
        ("user_id", [("bytes", ">i4"), ("value", ">i8")]),
        ("list", [("bytes", ">i4"), ("value", f"S{name}")]),
    ]
    return np.dtype([*keys, *((column, _list_type(value, length)) for column, (_, value) in _ELEMENTS.items())])


def _list_type(value: str, length: int) -> np.dtype[np.void]:
    """The layout of a one-dimensional array: the field's length in bytes, a header, and elements with their lengths."""
    header = [(name, ">i4") for name in ("bytes", "dimensions", "has_nulls", "oid", "length", "first")]
    return np.dtype([*header, ("elements", [("bytes", ">i4"), ("value", value)], (length,))])
