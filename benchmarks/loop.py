"""The whole loop, from raw CSV to published recommendations, at the size of a real shop: its time and its memory.

Runs `make demo NIGHTS=1` on a folder of raw files: the three pipelines on KFP's local runner, one process per task,
with the embedded PostgreSQL. Writing the files does not count. Each size is measured beside a tenth of it, so that the
figures show how every stage's time and memory grow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks.record import Row, at_most, measured, run_benchmark, times_as_much
from demo.synthetic import Size, write_synthetic


@dataclass(frozen=True)
class Case:
    """A size of the shop, and the limits on it.

    Attributes:
        size: The size.
        tenth: The shop to compare it with, of a tenth of the reviews and users.
        must_seconds: Limit on the time of the whole loop.
        must_mb: Limit on the peak memory of any process, in MB.
        must_memory_growth: Limit on that peak memory as a multiple of the tenth's.
    """

    size: Size
    tenth: Size
    must_seconds: float
    must_mb: float = 6144.0
    must_memory_growth: float = 1.5

    @classmethod
    def of_reviews(cls, reviews: int, games: int, must_seconds: float) -> Case:
        """Build the case of a shop with 0.7 users per review, as in the Kaggle set."""
        size, tenth = (Size(n, n * 7 // 10, games) for n in (reviews, reviews // 10))
        return cls(size, tenth, must_seconds)


CASES = {
    "10m": Case.of_reviews(10_000_000, 290, 1_800.0),
    "1m": Case.of_reviews(1_000_000, 290, 600.0),
    "50m": Case.of_reviews(50_000_000, 10_000, 75 * 60.0),
    "100m": Case.of_reviews(100_000_000, 10_000, 150 * 60.0),
}
MUST_GROWTH = 10.5
WRITE = "write raw files"


@dataclass(frozen=True)
class Loop:
    """What one loop took.

    Attributes:
        reviews: Reviews loaded.
        seconds: Time from start to end.
        stages: Seconds per stage, summed over its tasks.
        peak_mb: Peak memory of each stage's largest task, in MB.
    """

    reviews: int
    seconds: float
    stages: dict[str, float]
    peak_mb: dict[str, float]


def rows(name: str) -> list[Row]:
    """Run the loop at a size and at a tenth of it, and return the figures for the record."""
    case = CASES[name]
    return results(run_loop(case.tenth), run_loop(case.size), case)


def results(tenth: Loop, loop: Loop, case: Case) -> list[Row]:
    """Compute the figures for the record, including each stage's growth."""
    what, at = f"at {loop.reviews:,} reviews", f"at {tenth.reviews:,} reviews"
    seconds, memory = f"whole loop {what}, seconds", f"whole loop {what}, peak memory of any process, MB"
    most, most_of_tenth = max(loop.peak_mb.values()), max(tenth.peak_mb.values())
    return [
        at_most(seconds, loop.seconds, case.must_seconds),
        times_as_much(seconds, loop.seconds, tenth.seconds, at, MUST_GROWTH),
        at_most(memory, most, case.must_mb),
        times_as_much(memory, most, most_of_tenth, at, case.must_memory_growth),
        *(
            times_as_much(f"{stage} {what}, seconds", loop.stages[stage], of_tenth, at)
            for stage, of_tenth in tenth.stages.items()
        ),
        *(
            times_as_much(f"{stage} {what}, peak memory, MB", loop.peak_mb[stage], of_tenth, at)
            for stage, of_tenth in tenth.peak_mb.items()
        ),
    ]


def run_loop(size: Size) -> Loop:
    """Write a synthetic shop and run the demo on it."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as root:
        raw, workspace = Path(root) / "raw", Path(root) / "workspace"
        measured("benchmarks.loop", WRITE, str(raw), *map(str, astuple(size)))
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        demo = [sys.executable, "-m", "demo", "--workspace", str(workspace)]
        started = time.perf_counter()
        try:
            subprocess.run([*demo, "run", "--nights", "1", "--data", str(raw)], env=environment, check=True)
            seconds = time.perf_counter() - started
            summary = json.loads((workspace / "summary.json").read_text())
        finally:
            subprocess.run([*demo, "stop"], env=environment, check=True)
    return Loop(summary["data"]["reviews"], seconds, summary["seconds"], summary["peak_memory_mb"])


def write_raw(folder: str, *size: str) -> int:
    """Write the raw files of a synthetic shop and return the number of reviews."""
    return write_synthetic(Path(folder), Size(*map(int, size)))


if __name__ == "__main__":
    run_benchmark("loop", __doc__, rows, {WRITE: write_raw}, sizes=list(CASES))
