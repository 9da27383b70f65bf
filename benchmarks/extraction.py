"""Extraction beside its peers: all reviews and users to Parquet, each side in a process of its own.

The floor is `COPY … TO STDOUT` of the same rows into nothing. pandas holds a Python object a value, and would take
minutes and more memory than a small machine has: it runs on a tenth of the rows, beside ours on that tenth.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks.extraction_sides import ADBC, CONNECTORX, COPY, DATABASE, OURS, PANDAS
from benchmarks.record import Row, at_most, measured, part, times_as_much, times_faster
from demo.postgres import EmbeddedPostgres
from demo.synthetic import Size

SIZE = Size(reviews=10_000_000, users=7_000_000, games=290)
TENTH = Size(reviews=1_000_000, users=700_000, games=290)
REPEATS = 3
MUST_COPY, MUST_PEER, MUST_MEMORY, MUST_MB = 1.5, 1.0, 1.2, 500.0


@dataclass(frozen=True)
class Side:
    """What a side took: its best time in seconds, its highest peak memory in MB."""

    seconds: float
    peak_mb: float


def rows(size: Size = SIZE, tenth: Size = TENTH, repeats: int = REPEATS) -> list[Row]:
    """Measure all sides, in turns, and return the figures for the record."""
    with _shop(size):
        large = _sides([OURS, COPY, CONNECTORX, ADBC], repeats)
    with _shop(tenth):
        small = _sides([OURS, PANDAS], repeats)
    return results(size, tenth, large, small)


def results(size: Size, tenth: Size, large: dict[str, Side], small: dict[str, Side]) -> list[Row]:
    """The figures for the record."""
    what, ours = f"extract {size.reviews:,} reviews", large[OURS]
    seconds, at = f"{what}, seconds", f"ours at {tenth.reviews:,}"
    return [
        times_as_much(seconds, ours.seconds, large[COPY].seconds, COPY, MUST_COPY),
        *(times_faster(seconds, ours.seconds, large[peer].seconds, peer, MUST_PEER) for peer in (CONNECTORX, ADBC)),
        times_faster(
            f"extract {tenth.reviews:,} reviews, seconds", small[OURS].seconds, small[PANDAS].seconds, PANDAS, MUST_PEER
        ),
        times_as_much(f"{what}, peak memory, MB", ours.peak_mb, small[OURS].peak_mb, at, MUST_MEMORY),
        at_most(f"{what}, peak memory, MB", ours.peak_mb, MUST_MB),
        *(
            times_as_much(f"{what}, peak memory, MB", ours.peak_mb, large[peer].peak_mb, peer)
            for peer in (CONNECTORX, ADBC)
        ),
    ]


@contextmanager
def _shop(size: Size) -> Iterator[None]:
    """A database with a shop, filled in a process of its own, and named in the environment."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as root:
        server = EmbeddedPostgres(Path(root), durable=False)
        server.start()
        try:
            os.environ[DATABASE] = server.ensure_database("benchmark")
            measured("benchmarks.shop", "database", *map(str, astuple(size)), f"env:{DATABASE}")
            yield
        finally:
            os.environ.pop(DATABASE, None)
            server.stop()


def _sides(names: list[str], repeats: int) -> dict[str, Side]:
    found: dict[str, list[Side]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names:
            found[name].append(Side(**measured("benchmarks.extraction_sides", name)))
            print(f"[benchmark] {name}, run {repeat + 1} of {repeats}: {found[name][-1].seconds:.1f} s", flush=True)
    return {
        name: Side(min(side.seconds for side in sides), max(side.peak_mb for side in sides))
        for name, sides in found.items()
    }


if __name__ == "__main__":
    part("extraction", __doc__, rows)
