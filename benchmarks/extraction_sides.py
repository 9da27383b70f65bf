"""One side of the benchmark of extraction, in a process of its own: all reviews and users of a database to Parquet.

python -m benchmarks.extraction_sides ADBC record.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.record import peak_mb

DATABASE = "BENCHMARK_DATABASE_URL"
OURS, COPY, CONNECTORX, ADBC, PANDAS = "ours", "COPY into nothing", "ConnectorX", "ADBC", "pandas"
QUERIES = {
    "reviews": "SELECT review_id, user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on, updated_at "
    "FROM steam.reviews",
    "users": "SELECT user_id FROM steam.users",
}
KEYS = {"reviews": "review_id", "users": "user_id"}


def ours(folder: Path) -> None:
    """Our stage: the whole snapshot, in the order of ids, with its checksums."""
    from components.extract.extraction import write_snapshot

    write_snapshot(f"env:{DATABASE}", folder / "snapshot", folder / "store")


def copy(folder: Path) -> None:
    """What the server and the connection take; nothing is read and nothing is written."""
    import psycopg2

    with psycopg2.connect(os.environ[DATABASE]) as connection, connection.cursor() as cursor:
        for table, query in QUERIES.items():
            with Path(os.devnull).open("wb") as nothing:
                cursor.copy_expert(f"COPY ({query} ORDER BY {KEYS[table]}) TO STDOUT", nothing, size=1 << 20)


def connectorx(folder: Path) -> None:
    """ConnectorX over a connection a core, into Arrow, and Arrow's own writer."""
    import connectorx
    import pyarrow.parquet as pq

    for table, query in QUERIES.items():
        parts = {"partition_on": KEYS[table], "partition_num": os.cpu_count()}
        rows = connectorx.read_sql(os.environ[DATABASE], query, return_type="arrow", **parts)
        pq.write_table(rows, folder / f"{table}.parquet")


def adbc(folder: Path) -> None:
    """ADBC's stream of batches into Arrow's own writer."""
    import pyarrow.parquet as pq
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(os.environ[DATABASE]) as connection, connection.cursor() as cursor:
        for table, query in QUERIES.items():
            cursor.execute(query)
            batches = cursor.fetch_record_batch()
            with pq.ParquetWriter(folder / f"{table}.parquet", batches.schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)


def pandas(folder: Path) -> None:
    """The two calls that most would write; over the driver itself, which is faster than over SQLAlchemy."""
    import pandas
    import psycopg2

    warnings.filterwarnings("ignore", message="pandas only supports SQLAlchemy")
    with psycopg2.connect(os.environ[DATABASE]) as connection:
        for table, query in QUERIES.items():
            pandas.read_sql(query, connection).to_parquet(folder / f"{table}.parquet")


SIDES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    OURS: (ours, ("components.extract.extraction",)),
    COPY: (copy, ("psycopg2",)),
    CONNECTORX: (connectorx, ("connectorx", "pyarrow.parquet")),
    ADBC: (adbc, ("adbc_driver_postgresql.dbapi", "pyarrow.parquet")),
    PANDAS: (pandas, ("pandas", "psycopg2", "pyarrow.parquet")),
}
"""Each side, and what it imports before its time begins."""


def main() -> None:
    """Run one side in this process and write its seconds and its peak memory down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction_sides", description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    side, modules = SIDES[options.side]
    for module in modules:
        import_module(module)
    with tempfile.TemporaryDirectory(prefix="steam-recsys-extraction-") as folder:
        started = time.perf_counter()
        side(Path(folder))
        record = {"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}
    options.output.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
