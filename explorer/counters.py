"""Requests and how long they took, counted by all workers of a machine in files that each of them can add up.

A worker has a file of its own in a folder that they share; what a worker counted stays when it is gone, so that no sum
ever falls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from steam_recsys.arrays import Float64Array

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""The upper ends of the buckets of durations; there is one more without an end."""

CLASSES = 6
"""Statuses by their first digit."""

OTHER = "other"
"""The route of what is nobody's."""


class Counters:
    """The counters of one worker, and the sums over all of them."""

    def __init__(self, folder: Path, routes: Sequence[str]) -> None:
        """`routes` are what is counted apart."""
        self._routes = [*routes, OTHER]
        self._row = {route: row for row, route in enumerate(self._routes)}
        self._shape = (len(self._routes), CLASSES + len(SECONDS) + 2)
        self._folder = folder
        self._files = f"requests-{hashlib.sha256(repr(self._routes).encode()).hexdigest()[:8]}-"
        path = folder / f"{self._files}{os.getpid()}"
        self._mine = np.memmap(path, np.float64, "r+" if path.exists() else "w+", shape=self._shape)

    def add(self, route: str | None, status: int, seconds: float) -> None:
        """Count a request."""
        counts = self._mine[self._row.get(route or OTHER, len(self._routes) - 1)]
        counts[min(status // 100, CLASSES - 1)] += 1
        counts[CLASSES + int(np.searchsorted(SECONDS, seconds))] += 1
        counts[-1] += seconds

    def sums(self) -> Iterator[tuple[str, Float64Array, Float64Array, float]]:
        """Of each route that was asked for: requests by first digit of the status, by bucket, and seconds in all."""
        found = [np.fromfile(file) for file in self._folder.glob(f"{self._files}*")]
        whole = [counts.reshape(self._shape) for counts in found if counts.size == self._mine.size]
        totals = np.sum(whole, axis=0)  # of a worker that is just starting the file is still empty
        for route, counts in zip(self._routes, totals, strict=True):
            if counts.any():
                yield route, counts[:CLASSES], counts[CLASSES:-1], float(counts[-1])
