"""`make benchmark-training`: our training loop beside the tutorial's, and training at the size of a large shop.

Both loops train on the same generated reviews, each in its own process, so that each has its own peak memory.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.generated import Size, write_generated
from benchmarks.record import (
    Row,
    at_least,
    at_most,
    measured,
    run_benchmark,
    times_as_many,
    times_as_much,
    times_faster,
)
from steam_recsys.stage import max_rss_mb

OURS, TUTORIAL, LARGE = "ours", "tutorial", "large shop"
SIZE = Size(interactions=2_000_000, users=200_000, games=20_000)
LARGE_SIZE = Size(interactions=10_000_000, users=2_000_000, games=50_000)
LARGE_SHOP = f"{LARGE_SIZE.interactions:,} interactions, {LARGE_SIZE.users:,} users and {LARGE_SIZE.games:,} games"
FASTER, MUST_MB = 3.0, 4096.0
PEER = "TFRS basic-retrieval tutorial"
SEED = 0


@dataclass(frozen=True)
class Point:
    """One point of a learning curve.

    Attributes:
        seconds: Training time since the reviews were in memory.
        interactions: Interactions seen so far.
        recall: Recall@100 reached.
    """

    seconds: float
    interactions: int
    recall: float


@dataclass(frozen=True)
class LearningCurve:
    """One training.

    Attributes:
        points: The curve, in the order of time.
        first_step: Seconds until the loop began.
        peak_mb: Peak memory of the process, in MB.
        popularity: Recall@100 of popularity on the same task.
    """

    points: list[Point]
    first_step: float
    peak_mb: float
    popularity: float

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> LearningCurve:
        """Read what `measure_curve` returned."""
        return cls(**{**record, "points": [Point(**point) for point in record["points"]]})

    @property
    def best(self) -> Point:
        """The first point with the highest recall."""
        return max(self.points, key=lambda point: point.recall)

    @property
    def examples_per_second(self) -> float:
        """Interactions seen per second of the loop."""
        return self.points[-1].interactions / (self.points[-1].seconds - self.first_step)

    def seconds_to(self, recall: float) -> float | None:
        """Return when a recall was first reached, None if never."""
        return next((point.seconds for point in self.points if point.recall >= recall), None)


def rows() -> Iterator[Row]:
    """Measure both loops, then training at the size of the large shop."""
    curves = {}
    for side in (TUTORIAL, OURS):
        print(f"[benchmark] {side}", flush=True)
        curves[side] = LearningCurve.from_record(measured("benchmarks.training", side, *_texts(SIZE)))
    yield from results(curves[OURS], curves[TUTORIAL])
    print(f"[benchmark] training on {LARGE_SHOP}", flush=True)
    yield from large_shop_result(**measured("benchmarks.training", LARGE, *_texts(LARGE_SIZE)))


def results(ours: LearningCurve, tutorial: LearningCurve) -> list[Row]:
    """Compute the figures for the record. The one that must be met is the time to the tutorial's best recall."""
    target = tutorial.best.recall
    seconds, peer = ours.seconds_to(target), tutorial.best.seconds
    return [
        times_faster(f"seconds to a recall@100 of {target:.4f}", seconds, peer, PEER, FASTER),
        times_as_many("interactions a second", ours.examples_per_second, tutorial.examples_per_second, PEER),
        times_as_many("best recall@100", ours.best.recall, target, PEER),
        times_as_much("peak memory, MB", ours.peak_mb, tutorial.peak_mb, PEER),
        at_least("recall@100 of popularity", ours.popularity),
    ]


def large_shop_result(peak_mb: float, seconds: float) -> list[Row]:
    """Compute the large shop's figures for the record."""
    return [
        at_most(f"peak memory of training on {LARGE_SHOP}, MB", peak_mb, MUST_MB),
        at_most(f"seconds of training on {LARGE_SHOP}", seconds),
    ]


def measure_curve(side: str, *size: str) -> dict[str, Any]:
    """Train one side in this process and return its learning curve."""
    from benchmarks import learning_curves  # imports TensorFlow

    return learning_curves.measure_side(side, Size(*map(int, size)))


def measure_large_shop(*size: str) -> dict[str, float]:
    """Train on a generated snapshot in this process and return what it took."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-scale-") as folder:
        return train_on(Size(*map(int, size)), Path(folder))


def train_on(size: Size, folder: Path) -> dict[str, float]:
    """Write a snapshot in another process, train on it in this one, and return the training's megabytes and seconds."""
    snapshot = folder / "snapshot"
    writing = get_context("spawn").Process(target=write_generated, args=(snapshot, size, SEED))
    writing.start()
    writing.join()
    import components.train  # noqa: F401 - before TensorFlow
    from components.train.training import train_model

    started = time.perf_counter()
    train_model(snapshot, folder / "model", str(folder / "store"))
    peak_mb = max_rss_mb()
    return {"peak_mb": round(peak_mb, 1), "seconds": round(time.perf_counter() - started, 1)}


def _texts(size: Size) -> list[str]:
    return [str(number) for number in asdict(size).values()]


if __name__ == "__main__":
    steps = {side: partial(measure_curve, side) for side in (OURS, TUTORIAL)}
    run_benchmark("training", __doc__, rows, {**steps, LARGE: measure_large_shop})
