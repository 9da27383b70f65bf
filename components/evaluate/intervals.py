"""Confidence intervals of means over users, by the bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.evaluate.metrics import Doubles

RESAMPLES = 1_000
LEVEL = 0.95
_BLOCK = 1 << 22
"""Draws held at a time."""


@dataclass(frozen=True)
class Interval:
    """A mean over users, and where 95 % of the resamples' means lie."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f})"


def intervals(figures: Mapping[str, Doubles], seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3).

    The resamples of users are the same for all figures, so that differences that are passed along are paired.

    Args:
        figures: float64 [B] each, all of the same users.
        seed: of the resampling.
    """
    if not figures:
        return {}
    table = np.stack(list(figures.values()), axis=1)
    n_users = len(table)
    random = np.random.default_rng(seed)
    means = np.empty((RESAMPLES, table.shape[1]))
    block = max(1, _BLOCK // n_users)
    for start in range(0, RESAMPLES, block):
        drawn = random.integers(0, n_users, (min(block, RESAMPLES - start), n_users))
        for row, users in enumerate(drawn, start):
            means[row] = np.bincount(users, minlength=n_users) @ table / n_users
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {
        name: Interval(float(table[:, column].mean()), float(low[column]), float(high[column]))
        for column, name in enumerate(figures)
    }
