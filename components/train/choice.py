"""The choice among measured settings: the most personal one that accuracy cannot tell from the best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import Float64Array
from steam_recsys.evaluation.intervals import standard_error
from steam_recsys.evaluation.metrics import HEADLINE_METRIC

POINTS_PER_PERCENT = 2.0
"""Percentage points by which giving up a per cent of NDCG@10 must lower the concentration, at least."""

CONFIDENCE = 0.95
"""Confidence level of "clearly better"."""


@dataclass(frozen=True)
class Setting:
    """A setting of everything that is tuned, and how it ranks the validation data.

    Attributes:
        config: The configuration.
        ndcg: NDCG@10 of each user, float64 [n_users].
        overlap: Mean Jaccard index of the first ten games of two users.
        effective_games: How many games, all shown equally often, would be as varied as all users' first ten games.
    """

    config: ModelConfig
    ndcg: Float64Array = field(repr=False)
    overlap: float
    effective_games: float

    @cached_property
    def mean(self) -> float:
        """Mean NDCG@10."""
        return float(self.ndcg.mean())

    @cached_property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return standard_error(self.ndcg)

    @property
    def concentration(self) -> float:
        """How concentrated pages are on few games: ten divided by the effective games; 1 if all users get the same ten.

        The overlap mostly depends on the few games that many users get. This also shows how varied the rest is.
        """
        return HEADLINE_METRIC.k / self.effective_games if self.effective_games else 1.0

    def __str__(self) -> str:
        return (
            f"NDCG@10 {self.mean:.4f}, overlap {self.overlap:.3f}, {self.effective_games:.1f} effective games "
            f"({self.config.summary})"
        )


def most_accurate(settings: Iterable[Setting]) -> Setting:
    """Return the most accurate setting; of equally accurate ones the most personal."""
    return max(settings, key=lambda setting: (setting.mean, -setting.concentration))


def most_personal(settings: Iterable[Setting], budget: float) -> Setting:
    """Choose the setting with the least concentration among those that are about as accurate as the best.

    A per cent of NDCG@10 must lower the concentration by at least `POINTS_PER_PERCENT` percentage points: if pages
    are varied anyway, little is given up.

    Args:
        settings: At least one setting.
        budget: See `is_level`.
    """
    settings = list(settings)
    best = most_accurate(settings)

    def cost(setting: Setting) -> tuple[float, float]:
        return setting.concentration - POINTS_PER_PERCENT * setting.mean / (best.mean or 1.0), -setting.mean

    return next(each for each in sorted(settings, key=cost) if each is best or is_level(each, best, budget))


def is_level(setting: Setting, best: Setting, budget: float) -> bool:
    """Return whether a setting may be chosen instead of the most accurate one.

    Its mean NDCG@10 is within one standard error of the mean of the best (the one-standard-error rule: Breiman et al.
    1984, "Classification and Regression Trees", section 3.4.3), and the loss is within the budget, by one standard
    error of the paired difference: of many settings, the one that just keeps to it on these users exceeds it on others.

    Args:
        setting: The setting.
        best: The most accurate setting.
        budget: Share of the best NDCG@10 that may be given up; with 0 nothing may.
    """
    if len(best.ndcg) < 2:  # a single user gives no standard error
        return False
    loss = best.mean - setting.mean
    return loss <= best.standard_error and loss + standard_error(best.ndcg - setting.ndcg) <= budget * best.mean


def is_clearly_better(one: Setting, other: Setting, n_candidates: int) -> bool:
    """Return whether a setting gains NDCG@10 over another one, see `is_clear`."""
    return is_clear(one.ndcg - other.ndcg, n_candidates)


def is_clear(gains: Float64Array, n_candidates: int) -> bool:
    """Return whether the confidence interval of a mean gain is above zero.

    The best of many is often better by chance, most of all on sparse reviews. So the interval is widened for the best
    of `n_candidates` (Bonferroni's correction: Dunn 1961, "Multiple Comparisons Among Means").

    Args:
        gains: Gain of each user, float64 [n_users].
        n_candidates: Number of candidates of which this is the best.
    """
    errors = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / n_candidates)
    enough = len(gains) > 1  # a single user gives no interval
    return enough and float(gains.mean()) > errors * standard_error(gains)
