"""Ranges of rows → Parquet files in the store, which are named by their content and never change."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Container

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.extract.ranges import DIVISIONS
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import File
from steam_recsys.database.binary_copy import fits, from_binary
from steam_recsys.database.connection import COPY_BUFFER, Cursor
from steam_recsys.database.queries import snapshot_queries
from steam_recsys.storage.folder import Folder

DELTA = ("review_id", "user_id", "updated_at")
"""Integer columns in which few values repeat: as differences they take half the time and the room of a dictionary."""

LEVEL = 1
"""Of zstd: a higher one takes longer and saves 1 %."""


def layout() -> str:
    """A digest of all that decides which bytes the rows of a range become."""
    schemas = {table: TABLES[table].to_string() for table in sorted(TABLES)}
    decides = (pa.__version__, schemas, sorted(snapshot_queries().items()), sorted(DIVISIONS.items()), DELTA, LEVEL)
    return hashlib.sha256(repr(decides).encode()).hexdigest()[:12]


def write_part(cursor: Cursor, folder: Folder, table: str, key_range: int, known: Container[str]) -> File:
    """Read the rows of a range and put them into the store as one file with one row group.

    Equal rows make equal bytes, and so an equal name. A part is small enough to be made in memory: nothing of it lies
    on this machine's disk unless the store does.

    Args:
        cursor: of a connection that sees the moment of the snapshot.
        folder: of the parts.
        table: its name.
        key_range: the number of the range.
        known: paths of parts that are there already, and are not written again.
    """
    rows = _read(cursor, table, key_range)
    content = _parquet(rows)
    digest = hashlib.sha256(content).hexdigest()
    path = f"{table}/{digest}.parquet"
    if path not in known:
        folder.write(path, content)
    return File(path, rows.num_rows, len(content), digest, key_range, _dates(rows))


def _read(cursor: Cursor, table: str, key_range: int) -> pa.Table:
    query = cursor.mogrify(snapshot_queries()[table], DIVISIONS[table].bounds(key_range)).decode()
    schema = TABLES[table]
    if fits(schema):
        sent = io.BytesIO()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", sent, size=COPY_BUFFER)
        return from_binary(sent.getbuffer(), schema)
    cursor.execute(query)
    found = cursor.fetchall()
    columns = [pa.array([row[place] for row in found], field.type) for place, field in enumerate(schema)]
    return pa.table(columns, schema=schema)


def _dates(rows: pa.Table) -> int:
    if "updated_at" not in rows.schema.names:
        return 0
    dates = rows["updated_at"].cast(pa.int64()).to_numpy()
    return int(dates.astype(np.uint64).sum(dtype=np.uint64))  # the modulus is that of the type


def _parquet(rows: pa.Table) -> bytes:
    delta = [name for name in DELTA if name in rows.schema.names]
    content = pa.BufferOutputStream()
    pq.write_table(
        rows,
        content,
        row_group_size=max(1, rows.num_rows),
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=[name for name in rows.schema.names if name not in delta] if delta else True,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED") or None,
    )
    return bytes(content.getvalue())
