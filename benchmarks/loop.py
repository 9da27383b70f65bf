"""The whole loop, from raw CSV to published recommendations, at the size of a real shop: its time and its memory.

Runs `make demo NIGHTS=1` on a folder of raw files: the three pipelines on KFP's local runner, one process per task,
with the embedded PostgreSQL. Writing the files does not count.
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

SIZE = Size(reviews=1_000_000, users=700_000, games=290)
"""The size of the Kaggle set."""

LARGE = Size(reviews=10_000_000, users=7_000_000, games=290)
MUST_SECONDS, MUST_MB, MUST_GROWTH = 600.0, 4096.0, 10.5
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


def rows(size: Size = SIZE, large: Size = LARGE) -> list[Row]:
    """Run the loop at both sizes and return the figures for the record."""
    return results(run_loop(size), run_loop(large))


def results(loop: Loop, large: Loop) -> list[Row]:
    """Compute the figures for the record, including each stage's growth."""
    name, what = f"at {loop.reviews:,} reviews", f"at {large.reviews:,} reviews"
    most, most_large = max(loop.peak_mb.values()), max(large.peak_mb.values())
    return [
        at_most(f"whole loop {name}, seconds", loop.seconds, MUST_SECONDS),
        at_most(f"whole loop {name}, peak memory of any process, MB", most, MUST_MB),
        times_as_much(f"whole loop {what}, seconds", large.seconds, loop.seconds, name, MUST_GROWTH),
        times_as_much(f"whole loop {what}, peak memory of any process, MB", most_large, most, name),
        *(
            times_as_much(f"{stage} {what}, seconds", large.stages[stage], seconds, name)
            for stage, seconds in loop.stages.items()
        ),
        *(
            times_as_much(f"{stage} {what}, peak memory, MB", large.peak_mb[stage], peak, name)
            for stage, peak in loop.peak_mb.items()
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
    run_benchmark("loop", __doc__, rows, {WRITE: write_raw})
