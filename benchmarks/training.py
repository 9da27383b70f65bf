"""`make benchmark-training`: our training loop beside the tutorial's, and training at the size of a large shop.

Each side runs in a process of its own, on the same generated reviews, so that the peak of the memory is its own; this
one imports little, as a process begins with the peak of the one that starts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.record import Row, at_least, at_most, measured, part, times_as_many, times_as_much, times_faster
from benchmarks.scale import LARGE_SHOP

OURS, TUTORIAL = "ours", "tutorial"
SIZE = ["--interactions", "2000000", "--users", "200000", "--games", "20000"]
FASTER, MUST_MB = 3.0, 4096.0
PEER = "TFRS basic-retrieval tutorial"


@dataclass(frozen=True)
class Point:
    """What was reached after a time of training: seconds from having the reviews in memory, interactions seen."""

    seconds: float
    interactions: int
    recall: float


@dataclass(frozen=True)
class Side:
    """One training: its points, the seconds until its loop began, its peak memory in MB, popularity's recall."""

    points: list[Point]
    first_step: float
    peak_mb: float
    popularity: float

    @classmethod
    def read(cls, record: dict[str, Any]) -> Side:
        """Read what `learning_curves` wrote."""
        points = [Point(**point) for point in record.pop("points")]
        return cls(points, **record)

    @property
    def best(self) -> Point:
        """The first point with the highest recall."""
        return max(self.points, key=lambda point: point.recall)

    @property
    def examples_per_second(self) -> float:
        """Interactions seen in a second of the loop."""
        return self.points[-1].interactions / (self.points[-1].seconds - self.first_step)

    def seconds_to(self, recall: float) -> float | None:
        """When a recall was first reached, None where it never was."""
        return next((point.seconds for point in self.points if point.recall >= recall), None)


def results(ours: Side, tutorial: Side) -> list[Row]:
    """The figures for the record: the time to the tutorial's best recall decides."""
    wanted = tutorial.best.recall
    seconds, theirs = ours.seconds_to(wanted), tutorial.best.seconds
    return [
        times_faster(f"seconds to a recall@100 of {wanted:.4f}", seconds, theirs, PEER, FASTER),
        times_as_many("interactions a second", ours.examples_per_second, tutorial.examples_per_second, PEER),
        times_as_many("best recall@100", ours.best.recall, wanted, PEER),
        times_as_much("peak memory, MB", ours.peak_mb, tutorial.peak_mb, PEER),
        at_least("recall@100 of popularity", ours.popularity),
    ]


def scale_result(peak_mb: float, seconds: float) -> list[Row]:
    """The figures of the large shop for the record."""
    return [
        at_most(f"peak memory of training on {LARGE_SHOP}, MB", peak_mb, MUST_MB),
        at_most(f"seconds of training on {LARGE_SHOP}", seconds),
    ]


def rows() -> Iterator[Row]:
    """Measure both sides, then the large shop."""
    sides = []
    for side in (TUTORIAL, OURS):
        print(f"[benchmark] {side}", flush=True)
        sides.append(Side.read(measured("benchmarks.learning_curves", side, *SIZE)))
    tutorial, ours = sides
    yield from results(ours, tutorial)
    print(f"[benchmark] training on {LARGE_SHOP}", flush=True)
    yield from scale_result(**measured("benchmarks.scale"))


if __name__ == "__main__":
    part("training", __doc__, rows)
