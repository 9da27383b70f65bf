"""The stage: the operational schema → a snapshot, of one moment, streamed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from components.shared.console import log, progress
from components.shared.database import COPY_BUFFER, Connection, Cursor, connect, require_schema
from components.shared.schemas import TABLES
from components.shared.snapshot import File, Manifest

BLOCK_BYTES = 8 << 20
"""Bytes of CSV parsed at a time: what bounds the memory, whatever the number of rows."""

ROW_GROUP = 1 << 20
PROGRESS_ROWS = 1_000_000


@dataclass(frozen=True)
class Extracted:
    """A snapshot that was written: its id and its rows a table."""

    snapshot_id: str
    rows: dict[str, int]

    @property
    def reviews(self) -> int:
        """The number of reviews."""
        return self.rows["reviews"]

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return {"snapshot_id": self.snapshot_id, "rows": self.rows}


def write_snapshot(source: str, snapshot: str | Path) -> Extracted:
    """Write all of the schema `steam` to a folder, as it is at one moment (REPEATABLE READ), manifest last.

    Memory does not grow with the rows: COPY streams CSV through a pipe into Arrow batches, and these into Parquet.
    Equal rows make equal files. What an earlier attempt left in the folder is replaced.

    Args:
        source: a reference such as `env:DATABASE_URL`.
        snapshot: the folder to write.

    Raises:
        UserError: the database cannot be reached, or has no schema `steam` of this version.
    """
    root = Path(snapshot)
    shutil.rmtree(root, ignore_errors=True)
    with connect(source, application="steam-recsys extract") as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        require_schema(connection, "steam")
        files = {table: [_write_table(connection, root, table, query)] for table, query in _queries()}
        with connection.cursor() as cursor:
            manifest = Manifest(_moment(cursor), datetime.now(UTC).isoformat(), _watermark(cursor), files)
    manifest.write(root)
    extracted = Extracted(manifest.snapshot_id, {table: manifest.rows(table) for table in TABLES})
    log("extract", f"snapshot {extracted.snapshot_id}: {_count(extracted.rows)}")
    return extracted


def _write_table(connection: Connection, root: Path, table: str, query: str) -> File:
    path = root / table / "part-00000.parquet"
    path.parent.mkdir(parents=True)
    rows = 0
    with _copied(connection, query) as stream, pq.ParquetWriter(path, TABLES[table], compression="zstd") as writer:
        for batch in _batches(stream, TABLES[table]):
            writer.write_batch(batch, row_group_size=ROW_GROUP)
            if (rows + batch.num_rows) // PROGRESS_ROWS > rows // PROGRESS_ROWS:
                progress("extract", f"{table}: {rows + batch.num_rows:,} rows")
            rows += batch.num_rows
    return File.of(root, path, rows)


@contextmanager
def _copied(connection: Connection, query: str) -> Iterator[BinaryIO]:
    """What a query returns, as a stream of CSV. A thread copies into a pipe, so that parsing and copying overlap."""
    read_end, write_end = os.pipe()
    failures: list[BaseException] = []

    def copy() -> None:
        try:
            with os.fdopen(write_end, "wb") as sink, connection.cursor() as cursor:
                cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", sink, size=COPY_BUFFER)
        except BrokenPipeError:
            pass  # the reader failed, and says why
        except BaseException as error:  # handed to the thread that reads
            failures.append(error)

    copier = threading.Thread(target=copy, name="copy")
    copier.start()
    try:
        with os.fdopen(read_end, "rb") as stream:
            yield stream
    except pa.ArrowInvalid:
        if not failures:  # otherwise what arrived was cut short, and the failure says why
            raise
    finally:
        copier.join()
    if failures:
        raise failures[0]


def _batches(stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    carried = {field.name: _carried_as(field.type) for field in schema}
    reader = pa_csv.open_csv(
        stream,
        read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(newlines_in_values=pa.string() in carried.values()),
        convert_options=pa_csv.ConvertOptions(
            column_types=carried,
            true_values=["t"],
            false_values=["f"],
            null_values=[""],  # not "NA" or "null", which are names
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    for batch in reader:
        columns = [_restored(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _carried_as(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.string()
    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _restored(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.array([json.loads(text) for text in column.to_pylist()], kind)
    return column.cast(kind)


def _moment(cursor: Cursor) -> str:
    cursor.execute("SELECT pg_current_snapshot()::text")
    return str(_row(cursor)[0])


def _watermark(cursor: Cursor) -> tuple[str, int] | None:
    cursor.execute("SELECT updated_at, review_id FROM steam.reviews ORDER BY updated_at DESC, review_id DESC LIMIT 1")
    row = cursor.fetchone()
    return (row[0].astimezone(UTC).isoformat(), row[1]) if row else None


def _row(cursor: Cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None
    return row


def _queries() -> Iterator[tuple[str, str]]:
    script = (Path(__file__).parent / "queries.sql").read_text()
    for section in script.split("-- table: ")[1:]:
        table, _, query = section.partition("\n")
        yield table, query


def _count(rows: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {table}" for table, count in rows.items())
