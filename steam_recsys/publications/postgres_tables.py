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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from psycopg2 import sql

from steam_recsys.arrays import Int64Array
from steam_recsys.data.predictions import equal_lists
from steam_recsys.data.schemas import RELEVANCE
from steam_recsys.database.connection import Cursor
from steam_recsys.database.copy import HEADER, TRAILER, copy_from_chunks
from steam_recsys.publications.personalisation import FIRST_GAMES
from steam_recsys.publications.updates import VersionUpdate

_COPY = "COPY {} FROM STDIN WITH (FREEZE, FORMAT {})"
_COPY_ROWS = "COPY {} FROM STDIN WITH (FORMAT binary)"
_COPY_CSV = "COPY {} FROM STDIN WITH (FORMAT csv)"

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
ALTER TABLE {popular} ADD PRIMARY KEY (list, genre, rank), ADD UNIQUE (list, game_id, genre);
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

# For users of refreshes who are in none of the ranges. It is created last: attaching a partition would read it.
_CREATE_DEFAULT_PARTITION = """
CREATE TABLE {} PARTITION OF {} DEFAULT WITH (toast_tuple_target = 8160)
"""

# The first games that were published stay for monitoring.
_REMOVE_USERS = """
INSERT INTO recsys.replaced_lists (version, user_id, game_ids)
SELECT %(version)s, user_id, coalesce(game_ids[1:%(kept)s], '{{}}')
FROM unnest(%(users)s::bigint[]) AS user_id
LEFT JOIN (SELECT user_id, game_ids FROM {recommendations} WHERE user_id = ANY (%(users)s) AND list = 'relevance') AS r
    USING (user_id)
ON CONFLICT DO NOTHING;
WITH removed AS (DELETE FROM {recommendations} WHERE user_id = ANY (%(users)s) RETURNING list, game_ids)
SELECT count(*) FILTER (WHERE list = 'relevance'), coalesce(sum(cardinality(game_ids)), 0)::bigint FROM removed
"""

# The list of popular games that was published is kept for monitoring, too.
_KEEP_POPULAR = """
UPDATE recsys.publications SET published_popular =
    ARRAY(SELECT game_id FROM {} WHERE list = 'popular' AND genre = '' ORDER BY rank)
WHERE version = %s AND published_popular IS NULL
"""

_UPDATED_USERS = 10_000
"""Users per statement of an update, and lists per batch of its COPY."""

_ELEMENTS = {"game_ids": 23, "taste": 700, "popularity": 700, "because": 23}
"""For each column of lists: the OID of its elements' type, the same on every server. All of them have four bytes."""


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

    def partition(self, number: int | str) -> sql.Identifier:
        """A partition of the recommendations, by its number or `default`."""
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
                end=sql.Literal(end) if end <= np.iinfo(np.int64).max else sql.SQL("MAXVALUE"),
            )
        )

    def create_default_partition(self, cursor: Cursor) -> None:
        """Create the partition of all other users, after the others have been attached."""
        statement = sql.SQL(_CREATE_DEFAULT_PARTITION)
        cursor.execute(statement.format(self.partition("default"), self.recommendations))

    def update(self, cursor: Cursor, update: VersionUpdate) -> tuple[int, int]:
        """Replace the lists of some users, and the popular games.

        Returns:
            By how much the numbers of users and of recommended games grow.
        """
        removed_users = removed_rows = 0
        remove = sql.SQL(_REMOVE_USERS).format(recommendations=self.recommendations)
        for start in range(0, len(update.users), _UPDATED_USERS):
            users = update.users[start : start + _UPDATED_USERS].tolist()
            cursor.execute(remove, {"version": self.version, "kept": FIRST_GAMES, "users": users})
            ((n_users, n_rows),) = cursor.fetchall()
            removed_users, removed_rows = removed_users + n_users, removed_rows + n_rows
        batches = update.recommendations.to_batches(_UPDATED_USERS)
        copy_from_chunks(cursor, sql.SQL(_COPY_ROWS).format(self.recommendations), binary_copy(batches))
        if update.popular is not None:
            cursor.execute(sql.SQL(_KEEP_POPULAR).format(self.popular), [self.version])
            cursor.execute(sql.SQL("DELETE FROM {}").format(self.popular))
            cursor.copy_expert(sql.SQL(_COPY_CSV).format(self.popular), io.BytesIO(csv_copy(update.popular)))
        lists = update.recommendations["list"]
        users_now = pc.sum(pc.equal(lists, RELEVANCE)).as_py() or 0
        rows_now = pc.sum(pc.list_value_length(update.recommendations["game_ids"])).as_py() or 0
        return users_now - removed_users, rows_now - removed_rows

    def drop(self, cursor: Cursor) -> str:
        """Drop the tables that exist, attached partitions included.

        Returns:
            What depends on them, such as "view mine depends on table recsys.recommendations_v1"; then nothing is
            dropped, and the transaction can only be rolled back. Empty if they are dropped.
        """
        try:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self.recommendations, self.popular))
        except psycopg2.errors.DependentObjectsStillExist as error:
            return (error.diag.message_detail or "something depends on its tables").partition("\n")[0].rstrip(".")
        return ""


def binary_copy(batches: Iterable[pa.RecordBatch]) -> Iterator[memoryview]:
    """Convert batches of RECOMMENDATIONS to chunks of the binary COPY format."""
    return chain([memoryview(HEADER)], chain.from_iterable(map(_chunks, batches)), [memoryview(TRAILER)])


def csv_copy(table: pa.Table) -> bytes:
    """Convert a small table to COPY's CSV format, with strings in quotes: an unquoted empty string would be a null."""
    text = io.BytesIO()
    pv.write_csv(table, text, pv.WriteOptions(include_header=False, quoting_style="needed"))
    return text.getvalue()


def _chunks(batch: pa.RecordBatch) -> Iterator[memoryview]:
    """Convert a batch, one list and length after the other; a null is a zero, except as a reason."""
    users = batch.column("user_id").to_numpy()
    elements = {column: batch.column(column).flatten().fill_null(0).to_numpy() for column in _ELEMENTS}
    nulls = batch.column("because").flatten().is_null().to_numpy(zero_copy_only=False)
    for lists in equal_lists(batch):
        matrices = {column: lists.matrix(values) for column, values in elements.items()}
        yield _rows(lists.name.encode(), users[lists.rows], matrices, lists.matrix(nulls))


def _rows(
    name: bytes, users: Int64Array, elements: Mapping[str, npt.NDArray[Any]], nulls: npt.NDArray[np.bool_]
) -> memoryview:
    """Convert rows of the same list at the same length.

    All that precedes the elements of `because` has the same length in each row, so it forms a matrix. These elements
    do not, as a null has no value. Both parts are copied to the rows' places. After a shorter row, that copies some
    bytes too many, which the next row overwrites.

    Args:
        name: The list's name.
        users: Each row's user, int64 [n].
        elements: The elements of each column, int32 or float32 [n, length].
        nulls: Where `because` is null, bool [n, length].
    """
    n, length = nulls.shape
    sizes = 4 * (2 * length - nulls.sum(axis=1, dtype=np.int64))

    heads = np.empty(n, _head_type(len(name), length))
    heads["fields"] = 2 + len(_ELEMENTS)
    heads["user_id"]["bytes"] = 8
    heads["user_id"]["value"] = users
    heads["list"]["bytes"] = len(name)
    heads["list"]["value"] = name
    for column, oid in _ELEMENTS.items():
        header = heads[column]["header"]
        header["bytes"] = 20 + (sizes if column == "because" else 8 * length)
        header["dimensions"] = 1
        header["has_nulls"] = nulls.any() if column == "because" else 0
        header["oid"] = oid
        header["length"] = length
        header["first"] = 1
        if column != "because":  # the length of each element, and its bits
            heads[column]["elements"] = elements[column].view(np.uint32) | np.uint64(4 << 32)

    tails = np.empty((n, length, 2), ">i4")
    tails[..., 0] = np.where(nulls, -1, 4) if nulls.any() else 4
    tails[..., 1] = elements["because"]
    if nulls.any():
        kept = np.ones(tails.shape, dtype=np.bool_)
        kept[..., 1] = ~nulls
        tails = tails[kept]
    # After the last tail there is room for the bytes too many.
    ends = np.cumsum(sizes)
    source, content = (np.empty(ends[-1] + size + 8 * length, np.uint8) for size in (0, n * heads.itemsize))
    source[: ends[-1]] = tails.reshape(-1).view(np.uint8)
    starts = ends - sizes + np.arange(n) * heads.itemsize
    if length:
        _windows(content, 8 * length)[starts + heads.itemsize] = _windows(source, 8 * length)[ends - sizes]
    _windows(content, heads.itemsize)[starts] = heads.view(np.uint8).reshape(n, -1)
    return content[: ends[-1] + n * heads.itemsize].data


def _windows(content: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """All runs of this many bytes, by where they start."""
    return np.lib.stride_tricks.sliding_window_view(content, size, writeable=True)


def _head_type(name: int, length: int) -> np.dtype[np.void]:
    """The layout of a row before the elements of `because`, given the lengths of the list's name and of the list."""
    header = [(field, ">i4") for field in ("bytes", "dimensions", "has_nulls", "oid", "length", "first")]
    fields: list[tuple[Any, ...]] = [
        ("fields", ">i2"),
        ("user_id", [("bytes", ">i4"), ("value", ">i8")]),
        ("list", [("bytes", ">i4"), ("value", f"S{name}")]),
    ]
    for column in _ELEMENTS:
        elements = [] if column == "because" else [("elements", ">u8", (length,))]
        fields.append((column, [("header", header), *elements]))
    return np.dtype(fields)
