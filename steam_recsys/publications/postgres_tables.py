"""The tables of a version in PostgreSQL: creating, filling and dropping them.

Recommendations are partitioned by ranges of user ids, so that each partition can be filled over its own connection.
Every table is filled in the transaction that creates it, so that COPY can freeze its rows. That spares a later vacuum.
It also lets a transaction that took its snapshot before the load ended, and that reads the view after the switch, see
the complete new version; without it, that transaction would see an empty one.

Rows are sent in COPY's binary format (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"): the
server reads it four times as fast as text, most of which would be numbers to parse, and scores arrive bit by bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv
from psycopg2 import sql

from steam_recsys.database.connection import Cursor
from steam_recsys.database.copy import HEADER, TRAILER, copy_from_chunks

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

# The key's index is built before the partition is attached, as others wait for that. Because of the CHECK, attaching
# does not read all rows. Statistics of the arrays would take as long as the load, and nobody searches in them.
_ATTACH = """
ALTER TABLE {partition} ADD PRIMARY KEY (user_id);
ANALYZE {partition} (user_id);
ALTER TABLE {recommendations} ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({end});
"""


_ELEMENTS = {"game_ids": (23, ">i4"), "scores": (700, ">f4"), "because": (23, ">i4")}
"""For each column of lists: the OID of its elements' type, the same on every server, and their format."""

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tables:
    """The names of a version's tables, and what is done with them."""

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
        """Copy batches of RECOMMENDATIONS into a partition; the number of users, as the server counts them."""
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
    return chain([memoryview(HEADER)], map(_rows, batches), [memoryview(TRAILER)])


def csv_copy(table: pa.Table) -> bytes:
    """Convert a small table to COPY's CSV format, with strings in quotes: an unquoted empty string would be a null."""
    text = io.BytesIO()
    pv.write_csv(table, text, pv.WriteOptions(include_header=False, quoting_style="needed"))
    return text.getvalue()


def _rows(batch: pa.RecordBatch) -> memoryview:
    """Build a matrix of rows as long as the longest, then remove what shorter lists and nulls do not have."""
    users = batch.column("user_id").to_numpy()
    columns = {name: batch.column(name) for name in _ELEMENTS}
    lengths = np.diff(batch.column("game_ids").offsets.to_numpy())
    width = int(lengths.max())
    inside = np.arange(width) < lengths[:, None]
    sent = {
        name: _padded(lists.flatten().is_valid(), inside) if lists.flatten().null_count else inside
        for name, lists in columns.items()
    }

    rows = np.empty(len(batch), _row_type(width))
    rows["fields"] = 1 + len(_ELEMENTS)
    rows["user_id"]["bytes"] = 8
    rows["user_id"]["value"] = users
    for name, lists in columns.items():
        rows[name]["elements"]["bytes"] = 4 if sent[name].all() else np.where(sent[name], np.int32(4), np.int32(-1))
        rows[name]["elements"]["value"] = _padded(lists.flatten().fill_null(0), inside)
        rows[name]["bytes"] = 20 + 4 * lengths + 4 * sent[name].sum(axis=1)
        rows[name]["dimensions"] = 1
        rows[name]["has_nulls"] = lists.flatten().null_count > 0
        rows[name]["oid"] = _ELEMENTS[name][0]
        rows[name]["length"] = lengths
        rows[name]["first"] = 1
    if all(each.all() for each in sent.values()):
        return rows.view(np.uint8).data
    return rows.view(">i2")[_kept(rows.dtype, inside, sent)].data.cast("B")


def _padded(values: pa.Array, inside: _Mask) -> npt.NDArray[Any]:
    """The elements of lists as a matrix, with zeros after the end of shorter lists."""
    elements: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    if len(elements) == inside.size:
        return elements.reshape(inside.shape)
    padded = np.zeros(inside.shape, elements.dtype)
    padded[inside] = elements
    return padded


def _kept(row_type: np.dtype[np.void], inside: _Mask, sent: Mapping[str, _Mask]) -> _Mask:
    """Mark the 16-bit words to send: not those after a list's end, and not a null's value."""
    dropped = np.zeros(len(inside), row_type)  # all bits are set in what is dropped
    for name, values in sent.items():
        dropped[name]["elements"]["bytes"][~inside] = -1
        dropped[name]["elements"]["value"].view(">i4")[~values] = -1
    kept: _Mask = dropped.view(">i2") == 0
    return kept


def _row_type(width: int) -> np.dtype[np.void]:
    """The layout of a row whose lists have `width` elements."""
    lists: list[tuple[Any, ...]] = [(name, _list_type(value, width)) for name, (_, value) in _ELEMENTS.items()]
    return np.dtype([("fields", ">i2"), ("user_id", [("bytes", ">i4"), ("value", ">i8")]), *lists])


def _list_type(value: str, width: int) -> np.dtype[np.void]:
    """The layout of a one-dimensional array: the field's length in bytes, a header, and elements with their lengths."""
    header = [(name, ">i4") for name in ("bytes", "dimensions", "has_nulls", "oid", "length", "first")]
    return np.dtype([*header, ("elements", [("bytes", ">i4"), ("value", value)], (width,))])
