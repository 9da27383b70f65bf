"""Ingestion beside the database's own limit: raw COPY of the same rows into the same tables.

Ours reads CSV files, checks each value, finds or creates users and games by name, and gives each review a key. COPY
gets rows that have their ids and keys, in the binary format: into tables with their references and indexes, and into
tables that get these at the end, as in our first load.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import astuple
from pathlib import Path
from statistics import median

from psycopg2 import sql

from benchmarks.record import Row, at_least, at_most, measured, run_benchmark, times_as_much
from components.ingest.ingestion import deferred_constraints, ingest
from demo.postgres import EmbeddedPostgres
from demo.synthetic import Size, write_synthetic
from steam_recsys.database.connection import COPY_BUFFER, Cursor, connect, create_schema

SIZE = Size(reviews=3_000_000, users=2_100_000, games=290)
REPEATS = 3
MUST_ROWS_PER_SECOND, MUST_COPY = 150_000.0, 3.0

DATABASE = "BENCHMARK_DATABASE_URL"
OURS, AGAIN = "ours", "ours, the same files again"
COPY, DEFERRED = "COPY into the indexed tables", "COPY, then references and indexes"
WRITE, EXPORT = "write raw files", "export the rows"
TABLES = ("users", "games", "reviews")


def rows(size: Size = SIZE, repeats: int = REPEATS) -> Iterator[Row]:
    """Measure all sides in turns and return the figures for the record."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-ingestion-") as root:
        raw, exported = str(Path(root) / "raw"), str(Path(root) / "exported")
        reviews = measured("benchmarks.ingestion", WRITE, raw, *map(str, astuple(size)))
        seconds: dict[str, list[float]] = {OURS: [], AGAIN: [], COPY: [], DEFERRED: []}
        for repeat in range(repeats):
            with _database():
                seconds[OURS].append(measured("benchmarks.ingestion", OURS, raw))
                if not repeat:
                    measured("benchmarks.ingestion", EXPORT, exported)
                    seconds[AGAIN].append(measured("benchmarks.ingestion", OURS, raw))
            for side in (COPY, DEFERRED):
                with _database():
                    seconds[side].append(measured("benchmarks.ingestion", side, exported))
        yield from results(reviews, {side: median(figures) for side, figures in seconds.items()})


def results(reviews: int, seconds: dict[str, float]) -> list[Row]:
    """Compute the figures for the record from each side's median seconds."""
    what = f"ingest {reviews:,} reviews"
    return [
        at_least(f"{what}, reviews per second", reviews / seconds[OURS], MUST_ROWS_PER_SECOND),
        times_as_much(f"{what}, seconds", seconds[OURS], seconds[COPY], COPY, MUST_COPY),
        times_as_much(f"{what}, seconds", seconds[OURS], seconds[DEFERRED], DEFERRED),
        at_most(f"{what} again, seconds", seconds[AGAIN]),
    ]


@contextmanager
def _database() -> Iterator[None]:
    """Start a new, durable server with an empty database, and name the database in the environment."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as root:
        server = EmbeddedPostgres(Path(root))
        server.start()
        try:
            os.environ[DATABASE] = server.ensure_database("benchmark")
            yield
        finally:
            os.environ.pop(DATABASE, None)
            server.stop()


def ours_seconds(raw: str) -> float:
    """Measure the stage."""
    started = time.perf_counter()
    ingest(raw, f"env:{DATABASE}")
    return time.perf_counter() - started


def export(folder: str) -> int:
    """Write the ingested rows to files, as COPY will read them."""
    Path(folder).mkdir()
    with connect(f"env:{DATABASE}") as connection, connection.cursor() as cursor:
        for table in TABLES:
            columns = _columns(cursor, table)
            statement = sql.SQL("COPY (SELECT {} FROM steam.{} ORDER BY 1) TO STDOUT (FORMAT binary)")
            with (Path(folder) / table).open("wb") as file:
                cursor.copy_expert(statement.format(columns, sql.Identifier(table)), file, size=COPY_BUFFER)
        return cursor.rowcount


def copy_seconds(folder: str, *, deferred: bool) -> float:
    """Measure COPY of the files into the tables, in one transaction."""
    with connect(f"env:{DATABASE}") as connection, connection.cursor() as cursor:
        create_schema(connection, "steam")
        started = time.perf_counter()
        with deferred_constraints(cursor) if deferred else nullcontext():
            for table in TABLES:
                statement = sql.SQL("COPY steam.{} ({}) FROM STDIN (FORMAT binary)")
                with (Path(folder) / table).open("rb") as file:
                    cursor.copy_expert(
                        statement.format(sql.Identifier(table), _columns(cursor, table)), file, size=COPY_BUFFER
                    )
        connection.commit()
        return time.perf_counter() - started


def _columns(cursor: Cursor, table: str) -> sql.Composed:
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = '' "
        "ORDER BY attnum",
        [f"steam.{table}"],
    )
    return sql.SQL(", ").join(sql.Identifier(name) for (name,) in cursor.fetchall())


def write_raw(folder: str, *size: str) -> int:
    """Write the raw files of a synthetic shop and return the number of reviews."""
    return write_synthetic(Path(folder), Size(*map(int, size)))


STEPS = {
    WRITE: write_raw,
    EXPORT: export,
    OURS: ours_seconds,
    COPY: lambda folder: copy_seconds(folder, deferred=False),
    DEFERRED: lambda folder: copy_seconds(folder, deferred=True),
}

if __name__ == "__main__":
    run_benchmark("ingestion", __doc__, rows, STEPS)
