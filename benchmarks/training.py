"""`make benchmark-training`: our training loop beside the tutorial's, and training at the size of a large shop.

Each side runs in a process of its own, on the same generated reviews, so that the peak of the memory is its own; this
one imports little, as a process begins with the peak of the one that starts it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import measured, show
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


def results(ours: Side, tutorial: Side) -> list[dict[str, object]]:
    """The figures for the record: the time to the tutorial's best recall decides."""
    wanted = tutorial.best.recall
    seconds, theirs = ours.seconds_to(wanted), tutorial.best.seconds
    return [
        _row(f"seconds to a recall@100 of {wanted:.4f}", seconds, theirs, seconds and theirs / seconds, FASTER),
        _compared("interactions a second", ours.examples_per_second, tutorial.examples_per_second),
        _compared("best recall@100", ours.best.recall, wanted),
        _compared("peak memory, MB", ours.peak_mb, tutorial.peak_mb),
    ]


def scale_result(peak_mb: float, seconds: float) -> list[dict[str, object]]:
    """The figures of the large shop for the record."""
    row = {"peer": None, "peer_name": None, "ratio": None}
    return [
        {"what": f"peak memory of training on {LARGE_SHOP}, MB", "ours": peak_mb, **row, "must": MUST_MB,
         "met": peak_mb <= MUST_MB},
        {"what": f"seconds of training on {LARGE_SHOP}", "ours": seconds, **row, "must": None, "met": True},
    ]  # fmt: skip


def _row(what: str, ours: float | None, peer: float, ratio: float | None, must: float | None = None) -> dict[str, Any]:
    met = must is None or (ratio is not None and ratio >= must)
    ours, ratio = (figure if figure is None else round(figure, 4) for figure in (ours, ratio))
    return {
        "what": what, "ours": ours, "peer": round(peer, 4), "peer_name": PEER, "ratio": ratio, "must": must, "met": met,
    }  # fmt: skip


def _compared(what: str, ours: float, peer: float) -> dict[str, Any]:
    return _row(what, ours, peer, ours / peer)


def main() -> None:
    """Read the command line, run, print the figures and write them down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("local/benchmarks"), help="for the results (%(default)s)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    sides = []
    for side in (TUTORIAL, OURS):
        print(f"[benchmark] {side}", flush=True)
        sides.append(Side.read(measured("benchmarks.learning_curves", side, *SIZE)))
    tutorial, ours = sides
    record = results(ours, tutorial)
    print(f"[benchmark] training on {LARGE_SHOP}", flush=True)
    record += scale_result(**measured("benchmarks.scale"))
    (options.output / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"[benchmark] recall@100 of popularity: {ours.popularity:.4f}")
    show(record)


if __name__ == "__main__":
    main()
