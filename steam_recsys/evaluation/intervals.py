"""Confidence intervals of means over users, by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from steam_recsys.arrays import Float64Array

Key = TypeVar("Key", bound=Hashable)

RESAMPLES = 1_000
LEVEL = 0.95
_BLOCK = 1 << 22
"""Draws held in memory at a time."""


@dataclass(frozen=True)
class Interval:
    """A mean over users with its 95 % confidence interval and its standard error."""

    mean: float
    low: float
    high: float
    error: float = 0.0

    @classmethod
    def from_resamples(cls, figures: Float64Array, resampled: Float64Array) -> Interval:
        """Compute the percentile interval of a mean.

        (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.)

        The mean is summed exactly, so the order of the users does not change it, not even in the last digit.

        Args:
            figures: One figure per user, float64 [B].
            resampled: Means of the resamples, float64 [RESAMPLES].
        """
        low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(math.fsum(figures.tolist()) / len(figures), float(low), float(high), standard_error(figures))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f})"


def intervals(figures: Mapping[Key, Float64Array], seed: int = 0) -> dict[Key, Interval]:
    """Return the interval of each figure's mean; for the arguments see `resampled_means`."""
    resampled = resampled_means(figures, seed)
    return {name: Interval.from_resamples(values, resampled[name]) for name, values in figures.items()}


def resampled_means(figures: Mapping[Key, Float64Array], seed: int = 0) -> dict[Key, Float64Array]:
    """Return the means of resampled users, float64 [RESAMPLES] per figure.

    All figures use the same resamples, so that the difference of two figures' means is that of a paired bootstrap.

    Args:
        figures: One figure per user by name, float64 [B] each, of the same users, at least one.
        seed: Random seed of the resampling; the same seed gives the same intervals.
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
        times = np.stack([np.bincount(users, minlength=n_users) for users in drawn]).astype(np.float64)
        means[start : start + len(drawn)] = times @ table / n_users
    return dict(zip(figures, means.T, strict=True))


def standard_error(figures: Float64Array) -> float:
    """Return the standard error of the mean of float64 [B]; 0 for a single figure, which has no measurable error."""
    return float(figures.std(ddof=1) / np.sqrt(len(figures))) if len(figures) > 1 else 0.0
