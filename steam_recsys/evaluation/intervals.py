"""Confidence intervals of means over users by the bootstrap, and of shares; rankings compared on the same users."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np

from steam_recsys.arrays import Float64Array

Key = TypeVar("Key", bound=Hashable)

RESAMPLES = 1_000
CONFIDENCE_LEVEL = 0.95
BETTER, LEVEL, WORSE = "better", "level", "worse"
"""How a figure compares with another one."""

_BLOCK_DRAWS = 1 << 22
"""Draws held in memory at a time."""

CHALLENGER, CHAMPION, POPULARITY = "challenger", "champion", "popularity"
"""Names of rankings: the model under evaluation, the current model and one baseline. All others are baselines too."""

UserFigures = Mapping[str, Mapping[str, Float64Array]]
"""By ranking, then by metric name: one figure per user, float64 [B], for the same users everywhere."""

Figures = dict[str, "Interval"]
"""Intervals by metric name."""


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
        low, high = np.quantile(resampled, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
        return cls(math.fsum(figures.tolist()) / len(figures), float(low), float(high), standard_error(figures))

    @classmethod
    def wilson(cls, share: float, n: float, error: float) -> Interval:
        """Compute the score interval of a share (Wilson 1927, "Probable Inference").

        Args:
            share: The share, from 0 to 1.
            n: Number of independent observations, above 0; the effective number if they are not independent.
            error: Standard error of the share.
        """
        z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        return cls(share, max(centre - half, 0.0), min(centre + half, 1.0), error)

    @property
    def outcome(self) -> str:
        """What the interval of a difference shows: `LEVEL` if zero lies in it, else `BETTER` or `WORSE`."""
        if self.low <= 0 <= self.high:
            return LEVEL
        return BETTER if self.low > 0 else WORSE

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Comparison:
    """Figures of rankings on the same users.

    Attributes:
        users: Number of users.
        figures: By ranking, the challenger first; empty without users.
        differences: By opponent, the challenger's figures minus the opponent's, user by user.
    """

    users: int
    figures: dict[str, Figures]
    differences: dict[str, Figures]

    @classmethod
    def from_figures(cls, measured: UserFigures) -> Comparison:
        """Compare the challenger with all others; every interval uses the same resamples of users."""
        ours = measured[CHALLENGER]
        users = len(next(iter(ours.values()), ()))
        if not users:
            return cls(0, {}, {})
        means = resampled_means(
            {(name, metric): values for name, by_metric in measured.items() for metric, values in by_metric.items()}
        )
        figures = {
            name: {metric: Interval.from_resamples(values, means[name, metric]) for metric, values in by_metric.items()}
            for name, by_metric in measured.items()
        }
        differences = {
            name: {
                metric: Interval.from_resamples(ours[metric] - values, means[CHALLENGER, metric] - means[name, metric])
                for metric, values in by_metric.items()
            }
            for name, by_metric in measured.items()
            if name != CHALLENGER
        }
        return cls(users, figures, differences)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Comparison:
        """Rebuild a comparison from the output of `dataclasses.asdict`."""
        return cls(
            content["users"], _intervals_from_dict(content["figures"]), _intervals_from_dict(content["differences"])
        )

    def best_baseline(self, metric: str) -> str:
        """Return the baseline with the highest mean, the first of equals."""
        baselines = [ranking for ranking in self.figures if ranking not in (CHALLENGER, CHAMPION)]
        return max(baselines, key=lambda ranking: self.figures[ranking][metric].mean)


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
    block = max(1, _BLOCK_DRAWS // n_users)
    for start in range(0, RESAMPLES, block):
        drawn = random.integers(0, n_users, (min(block, RESAMPLES - start), n_users))
        times = np.stack([np.bincount(users, minlength=n_users) for users in drawn]).astype(np.float64)
        means[start : start + len(drawn)] = times @ table / n_users
    return dict(zip(figures, means.T, strict=True))


def standard_error(figures: Float64Array) -> float:
    """Return the standard error of the mean of float64 [B]; 0 for a single figure, which has no measurable error."""
    return float(figures.std(ddof=1) / np.sqrt(len(figures))) if len(figures) > 1 else 0.0


def _intervals_from_dict(content: Mapping[str, Any]) -> dict[str, Figures]:
    return {
        ranking: {metric: Interval(**figure) for metric, figure in figures.items()}
        for ranking, figures in content.items()
    }
