"""Ranking metrics: of accuracy, one figure per user; beyond accuracy, coverage, the Gini index and novelty.

Coverage and the Gini index are figures of all users together and not means over users. Resampled users, some of whom
are drawn twice and some not at all, are always shown fewer games, so a bootstrap interval would be meaningless and they
have none. Novelty is a mean and has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from steam_recsys.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.rankers import Ranker, rank
from steam_recsys.evaluation.splits import HeldOut, relevant_at


class Metric(Protocol):
    """An accuracy metric of the first k ranks."""

    @property
    def k(self) -> int:
        """How many ranks count."""

    @property
    def name(self) -> str:
        """Name in reports and stored results, for example `ndcg_at_10`."""

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """Compute one figure per user.

        Args:
            hits: Whether the game at each rank is relevant, bool [B, m]. m may differ from k; missing ranks are misses.
            relevant: Number of relevant games per user, int64 [B], at least one each.

        Returns:
            float64 [B] between 0 and 1.
        """


@dataclass(frozen=True)
class Recall:
    """Hits among the first k over min(k, relevant), so that a perfect ranking scores 1.

    From Liang et al. 2018, "Variational Autoencoders for Collaborative Filtering", section 4.2.

    Example:
        >>> Recall(2).per_user(np.array([[True, False, True]]), np.array([3]))
        array([0.5])
    """

    k: int

    @property
    def name(self) -> str:
        """See `Metric.name`."""
        return f"recall_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """See `Metric.per_user`."""
        found: Float64Array = hits[:, : self.k].sum(axis=1) / np.minimum(self.k, relevant)
        return found


@dataclass(frozen=True)
class NDCG:
    """Normalised discounted cumulative gain, binary: a hit at rank r counts 1 / log2(r + 1).

    The sum is divided by that of a perfect ranking (Järvelin and Kekäläinen 2002, "Cumulated Gain-Based Evaluation of
    IR Techniques"; binary and truncated as in Liang et al. 2018, section 4.2).

    Example:
        >>> NDCG(2).per_user(np.array([[True, False], [True, True]]), np.array([1, 2]))
        array([1., 1.])
    """

    k: int

    @property
    def name(self) -> str:
        """See `Metric.name`."""
        return f"ndcg_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """See `Metric.per_user`."""
        discounts = 1 / np.log2(np.arange(2, self.k + 2))
        counted = hits[:, : self.k]
        gains = counted @ discounts[: counted.shape[1]]
        normalised: Float64Array = gains / np.cumsum(discounts)[np.minimum(self.k, relevant) - 1]
        return normalised


HEADLINE_METRIC = NDCG(10)
"""The metric that tuning, the gate and monitoring decide by."""


@dataclass(frozen=True)
class MRR:
    """Reciprocal rank of the first hit among the first k, 0 without one.

    From Voorhees 1999, "The TREC-8 Question Answering Track Report", section 3; the mean over users is the MRR.

    Example:
        >>> MRR(3).per_user(np.array([[False, True, True], [False, False, False]]), np.array([2, 1]))
        array([0.5, 0. ])
    """

    k: int

    @property
    def name(self) -> str:
        """See `Metric.name`."""
        return f"mrr_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """See `Metric.per_user`."""
        counted = hits[:, : self.k]
        first = counted & (np.cumsum(counted, axis=1) == 1)
        reciprocals: Float64Array = first @ (1 / np.arange(1, counted.shape[1] + 1))
        return reciprocals


@dataclass(frozen=True)
class HitRate:
    """1 if at least one of the first k is a hit, else 0.

    From Deshpande and Karypis 2004, "Item-Based Top-N Recommendation Algorithms", section 6.2.

    Example:
        >>> HitRate(2).per_user(np.array([[True, True], [False, False]]), np.array([2, 1]))
        array([1., 0.])
    """

    k: int

    @property
    def name(self) -> str:
        """See `Metric.name`."""
        return f"hit_rate_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """See `Metric.per_user`."""
        found: Float64Array = (hits[:, : self.k].sum(axis=1) > 0).astype(np.float64)
        return found


@dataclass(frozen=True)
class Coverage:
    """Share of the catalogue that is among the first k of at least one user.

    "Catalog coverage" of Ge, Delgado-Battenfeld and Jannach 2010, "Beyond Accuracy: Evaluating Recommender Systems by
    Coverage and Serendipity".

    Example:
        >>> Coverage(2).compute(np.array([[0, 1, 3], [1, 0, 2]]), n_games=4)
        0.5
    """

    k: int

    @property
    def name(self) -> str:
        """See `Metric.name`."""
        return f"coverage_at_{self.k}"

    def compute(self, ranked: Int32Array, n_games: int) -> float:
        """Compute the figure, between 0 and 1.

        Args:
            ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks.
            n_games: Size of the catalogue.
        """
        return float((_times_shown(ranked[:, : self.k], n_games) > 0).mean()) if n_games else 0.0


@dataclass(frozen=True)
class Gini:
    """How unevenly the first k ranks are spread over the games: 0 evenly, 1 if one game takes all of them.

        G = sum over j of (2j - N - 1) p(j) / (N - 1), the games ordered by p(j), their shares of the ranks

    (Castells, Hurley and Vargas 2015, "Novelty and Diversity in Recommender Systems", section 26.3.)

    Example:
        >>> Gini(1).compute(np.array([[2], [2], [2]]), n_games=3), Gini(1).compute(np.array([[0], [1], [2]]), n_games=3)
        (1.0, 0.0)
    """

    k: int

    @property
    def name(self) -> str:
        """See `Metric.name`."""
        return f"gini_at_{self.k}"

    def compute(self, ranked: Int32Array, n_games: int) -> float:
        """Compute the figure, see `Coverage.compute`; 0 for a single game or if nothing is shown."""
        shown = np.sort(_times_shown(ranked[:, : self.k], n_games))
        if n_games < 2 or not shown[-1]:
            return 0.0
        weights = 2 * np.arange(1, n_games + 1) - n_games - 1
        return float(weights @ shown / (n_games - 1) / shown.sum())


@dataclass(frozen=True)
class Novelty:
    """Mean self-information of the first k games in bits: -log2 of a game's share of all positive reviews.

    From Vargas and Castells 2011, "Rank and Relevance in Novelty and Diversity Metrics for Recommender Systems". A game
    that no user recommends counts as if one user did.

    Example:
        >>> Novelty(2).per_user(np.array([[0, 1], [1, -1]]), np.array([4.0, 4.0, 8.0]))
        array([2., 2.])
    """

    k: int

    @property
    def name(self) -> str:
        """See `Metric.name`."""
        return f"novelty_at_{self.k}"

    def per_user(self, ranked: Int32Array, popularity: Float64Array) -> Float64Array:
        """Compute one figure per user, float64 [B]; 0 for a user without recommendations.

        Args:
            ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks.
            popularity: Number of users who recommend each game, float64 [N].
        """
        counted = ranked[:, : self.k]
        bits = np.log2(max(1.0, popularity.sum())) - np.log2(np.maximum(1.0, popularity))
        filled = counted >= 0
        information = np.where(filled, bits[counted], 0).sum(axis=1) if len(bits) else np.zeros(len(ranked))
        means: Float64Array = information / np.maximum(1, filled.sum(axis=1))
        return means


def measure(ranker: Ranker, held_out: HeldOut, metrics: Sequence[Metric]) -> dict[str, Float64Array]:
    """Rank all games for the held-out users and measure the result: float64 [B] by metric name."""
    ranked = rank(ranker, held_out.history, max(metric.k for metric in metrics))
    return measure_ranked(ranked, held_out.relevant, metrics)


def measure_ranked(ranked: Int32Array, relevant: Histories, metrics: Sequence[Metric]) -> dict[str, Float64Array]:
    """Measure the best games given as positions, int32 [B, k], -1 for empty ranks: float64 [B] by metric name."""
    hits = relevant_at(ranked, relevant)
    return {metric.name: metric.per_user(hits, relevant.lengths) for metric in metrics}


def _times_shown(ranked: Int32Array, n_games: int) -> Float64Array:
    """Count how often each game of the catalogue is recommended, float64 [n_games]."""
    return np.bincount(ranked[ranked >= 0], minlength=n_games).astype(np.float64)
