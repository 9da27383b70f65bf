"""Tables in ranges of keys, and one Parquet file for the rows of each range.

The bounds of a range do not depend on the rows in the table, and files are named by their content: equal rows always
make the same files.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Container, Iterable
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import DATES_MODULUS, DataFile
from steam_recsys.database.connection import COPY_BUFFER, Cursor
from steam_recsys.database.copy import has_fixed_width, read_binary_copy
from steam_recsys.database.queries import snapshot_queries
from steam_recsys.storage.folder import Folder

LOOK_BACK = timedelta(days=1)
"""How long before an extraction a change that it missed may be dated: longer than any transaction takes from its
`now()` to its commit, and longer than the clock that dates rows is ever set back."""

DELTA_COLUMNS = ("review_id", "user_id", "updated_at")
"""Integer columns with few repeats: as differences they take half the time and space of a dictionary."""

COMPRESSION_LEVEL = 1
"""Level of zstd: higher ones take longer and save 1 %."""

_OCCUPIED_RANGES = sql.SQL("""
WITH RECURSIVE occupied (number) AS (
    SELECT min({key})::bigint >> {bits} FROM {table}
    UNION ALL
    SELECT (SELECT min({key})::bigint >> {bits} FROM {table} WHERE {key} >= (number + 1) << {bits})
    FROM occupied WHERE number IS NOT NULL
)
SELECT number FROM occupied WHERE number IS NOT NULL
""")

_RANGES_DATED_SINCE = "SELECT DISTINCT review_id >> %s FROM steam.reviews WHERE updated_at >= %s"
_COUNT = "SELECT count(*), 0 FROM steam.reviews WHERE review_id >= %(first)s AND review_id < %(end)s"
_COUNT_AND_DATES = """
SELECT count(*), sum((date_part('epoch', updated_at) * 1000000)::bigint)
FROM steam.reviews WHERE review_id >= %(first)s AND review_id < %(end)s
"""


@dataclass(frozen=True)
class KeyRanges:
    """How a table is divided: a range holds `2 ** bits` consecutive values of a key."""

    key: str
    bits: int

    def bounds(self, number: int) -> dict[str, int]:
        """Return the first key of a range, and the first key after it."""
        return {"first": number << self.bits, "end": (number + 1) << self.bits}


KEY_RANGES = {
    "reviews": KeyRanges("review_id", 17),  # 2 MB of Parquet, 12 MB over the network
    "users": KeyRanges("user_id", 20),
    "games": KeyRanges("game_id", 12),
    "rankings": KeyRanges("game_id", 14),
}


def layout() -> str:
    """Return a digest of everything that determines the bytes of a range's file."""
    schemas = {table: TABLES[table].to_string() for table in sorted(TABLES)}
    ranges = sorted((table, astuple(key_ranges)) for table, key_ranges in KEY_RANGES.items())
    settings = (pa.__version__, schemas, sorted(snapshot_queries().items()), ranges, DELTA_COLUMNS, COMPRESSION_LEVEL)
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:12]


def occupied_ranges(cursor: Cursor, table: str) -> list[int]:
    """Return the numbers of a table's ranges that have rows, in order, with one index lookup per range."""
    key_ranges = KEY_RANGES[table]
    names = {"key": sql.Identifier(key_ranges.key), "table": sql.Identifier("steam", table)}
    cursor.execute(_OCCUPIED_RANGES.format(bits=sql.Literal(key_ranges.bits), **names))
    return [number for (number,) in cursor]


def recent_ranges(cursor: Cursor, times: Iterable[datetime]) -> set[int]:
    """Return the numbers of the review ranges with rows that an earlier extraction may have missed.

    Args:
        cursor: Cursor that sees the snapshot.
        times: The earlier extraction's time and watermark. The earlier of the two counts, less `LOOK_BACK`, because a
            row may be dated ahead of the clock.
    """
    cursor.execute(_RANGES_DATED_SINCE, [KEY_RANGES["reviews"].bits, min(times) - LOOK_BACK])
    return {number for (number,) in cursor}


def is_unchanged(cursor: Cursor, earlier: DataFile, *, recent: bool) -> bool:
    """Return whether a range of reviews still holds the rows of an earlier file.

    Without recent dates, an equal number of rows is enough, which the index of the primary key gives. With recent
    dates, the sum of the dates must be equal too: every change dates its row later than before, and a row that replaces
    a deleted one is dated later still.
    """
    query = _COUNT_AND_DATES if recent else _COUNT
    cursor.execute(query, KEY_RANGES["reviews"].bounds(earlier.key_range))
    row = cursor.fetchone()
    assert row is not None
    rows, dates = int(row[0]), int(row[1] or 0)
    return rows == earlier.rows and (not recent or dates % DATES_MODULUS == earlier.dates)


def write_part(cursor: Cursor, folder: Folder, table: str, key_range: int, known: Container[str]) -> DataFile:
    """Read the rows of a range and write them to the store as one file with one row group.

    Equal rows make equal bytes, and so an equal name. A part is made in memory, not on the local disk.

    Args:
        cursor: Cursor of a connection that sees the snapshot.
        folder: Folder of the parts.
        table: Name of the table.
        key_range: Number of the range.
        known: Paths of existing parts, which are not written again.
    """
    rows = _read(cursor, table, key_range)
    content = _to_parquet(rows)
    digest = hashlib.sha256(content).hexdigest()
    path = f"{table}/{digest}.parquet"
    if path not in known:
        folder.write(path, content)
    return DataFile(path, rows.num_rows, len(content), digest, key_range, _sum_of_dates(rows))


def _read(cursor: Cursor, table: str, key_range: int) -> pa.Table:
    query = cursor.mogrify(snapshot_queries()[table], KEY_RANGES[table].bounds(key_range)).decode()
    schema = TABLES[table]
    if has_fixed_width(schema):
        content = io.BytesIO()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", content, size=COPY_BUFFER)
        return read_binary_copy(content.getbuffer(), schema)
    cursor.execute(query)
    rows = cursor.fetchall()
    columns = [pa.array([row[index] for row in rows], field.type) for index, field in enumerate(schema)]
    return pa.table(columns, schema=schema)


def _sum_of_dates(rows: pa.Table) -> int:
    if "updated_at" not in rows.schema.names:
        return 0
    dates = rows["updated_at"].cast(pa.int64()).to_numpy()
    return int(dates.astype(np.uint64).sum(dtype=np.uint64))  # overflows at DATES_MODULUS


def _to_parquet(rows: pa.Table) -> bytes:
    delta = [name for name in DELTA_COLUMNS if name in rows.schema.names]
    content = pa.BufferOutputStream()
    pq.write_table(
        rows,
        content,
        row_group_size=max(1, rows.num_rows),
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=[name for name in rows.schema.names if name not in delta] if delta else True,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED") or None,
    )
    return bytes(content.getvalue())
