"""Extraction beside its peers: all reviews and users to Parquet, each side in its own process.

`COPY … TO STDOUT` of the same rows into nothing, and ADBC, read over one connection; ConnectorX reads over one per
core, and ours over as many as the stage has. pandas holds one Python object per value and would take
minutes and more memory than a small machine has, so it runs on a tenth of the rows, beside ours on that tenth.

A side's peak memory counts what this module imports, so each side imports its own libraries.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmarks.record import Row, at_most, measured, peak_mb, run_benchmark, times_as_much, times_faster

REVIEWS, TENTH = 10_000_000, 1_000_000
USERS_PER_REVIEW, GAMES = 0.7, 290
REPEATS = 3
MUST_COPY, MUST_PEER, MUST_MEMORY, MUST_MB = 1.5, 1.0, 1.2, 500.0

DATABASE = "BENCHMARK_DATABASE_URL"
OURS, COPY, CONNECTORX, ADBC, PANDAS = "ours", "COPY into nothing", "ConnectorX", "ADBC", "pandas"
QUERIES = {
    "reviews": "SELECT review_id, user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on, updated_at "
    "FROM steam.reviews",
    "users": "SELECT user_id FROM steam.users",
}
LOAD = "load a shop"
KEYS = {"reviews": "review_id", "users": "user_id"}


@dataclass(frozen=True)
class Side:
    """What one side took: its best time in seconds and its highest peak memory in MB."""

    seconds: float
    peak_mb: float


def rows(reviews: int = REVIEWS, tenth: int = TENTH, repeats: int = REPEATS) -> list[Row]:
    """Measure all sides in turns and return the figures for the record."""
    with _shop(reviews):
        large = _sides([OURS, COPY, CONNECTORX, ADBC], repeats)
    with _shop(tenth):
        small = _sides([OURS, PANDAS], repeats)
    return results(reviews, tenth, large, small)


def results(reviews: int, tenth: int, large: dict[str, Side], small: dict[str, Side]) -> list[Row]:
    """Compute the figures for the record."""
    what, ours = f"extract {reviews:,} reviews", large[OURS]
    seconds, at = f"{what}, seconds", f"ours at {tenth:,}"
    return [
        times_as_much(seconds, ours.seconds, large[COPY].seconds, COPY, MUST_COPY),
        *(times_faster(seconds, ours.seconds, large[peer].seconds, peer, MUST_PEER) for peer in (CONNECTORX, ADBC)),
        times_faster(
            f"extract {tenth:,} reviews, seconds", small[OURS].seconds, small[PANDAS].seconds, PANDAS, MUST_PEER
        ),
        times_as_much(f"{what}, peak memory, MB", ours.peak_mb, small[OURS].peak_mb, at, MUST_MEMORY),
        at_most(f"{what}, peak memory, MB", ours.peak_mb, MUST_MB),
        *(
            times_as_much(f"{what}, peak memory, MB", ours.peak_mb, large[peer].peak_mb, peer)
            for peer in (CONNECTORX, ADBC)
        ),
    ]


@contextmanager
def _shop(reviews: int) -> Iterator[None]:
    """Fill a database with a synthetic shop, in its own process, and name the database in the environment."""
    from demo.postgres import EmbeddedPostgres

    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as root:
        server = EmbeddedPostgres(Path(root), durable=False)
        server.start()
        try:
            os.environ[DATABASE] = server.ensure_database("benchmark")
            size = (reviews, round(USERS_PER_REVIEW * reviews), GAMES)
            measured("benchmarks.extraction", LOAD, *map(str, size))
            yield
        finally:
            os.environ.pop(DATABASE, None)
            server.stop()


def _sides(names: list[str], repeats: int) -> dict[str, Side]:
    found: dict[str, list[Side]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names:
            found[name].append(Side(**measured("benchmarks.extraction", name)))
            print(f"[benchmark] {name}, run {repeat + 1} of {repeats}: {found[name][-1].seconds:.1f} s", flush=True)
    return {
        name: Side(min(side.seconds for side in sides), max(side.peak_mb for side in sides))
        for name, sides in found.items()
    }


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


def run_side(name: str) -> dict[str, float]:
    """Run one side in this process and return its seconds and its peak memory."""
    side, modules = SIDES[name]
    for module in modules:
        import_module(module)
    with tempfile.TemporaryDirectory(prefix="steam-recsys-extraction-") as folder:
        started = time.perf_counter()
        side(Path(folder))
        return asdict(Side(time.perf_counter() - started, peak_mb()))


def load_shop(reviews: str, users: str, games: str) -> int:
    """Fill the benchmark's database with a synthetic shop and return its number of reviews."""
    from benchmarks.generated import load_shop
    from demo.synthetic import Size

    return load_shop(f"env:{DATABASE}", Size(int(reviews), int(users), int(games)))


if __name__ == "__main__":
    sides = {name: partial(run_side, name) for name in SIDES}
    run_benchmark("extraction", __doc__, rows, {LOAD: load_shop, **sides})
