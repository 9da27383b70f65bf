"""The training stage on a snapshot as large as a large shop's, in a process of its own: its seconds and its memory."""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from benchmarks.generated import Size, write_generated

SIZE = Size(interactions=10_000_000, users=2_000_000, games=50_000)
LARGE_SHOP = f"{SIZE.interactions:,} interactions, {SIZE.users:,} users and {SIZE.games:,} games"
SEED = 0


def train_on(size: Size, folder: Path) -> dict[str, float]:
    """Write a snapshot in one process and train on it in this one: megabytes and seconds of the training alone."""
    snapshot = folder / "snapshot"
    writing = get_context("spawn").Process(target=write_generated, args=(snapshot, size, SEED))
    writing.start()
    writing.join()
    from components.train.training import train_model

    started = time.perf_counter()
    train_model(snapshot, folder / "model", str(folder / "store"))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mb": round(peak_mb, 1), "seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    """Run and write the figures down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="steam-recsys-scale-") as folder:
        options.output.write_text(json.dumps(train_on(SIZE, Path(folder))) + "\n")


if __name__ == "__main__":
    main()
