"""Ranking metrics: small value objects that give a figure for each user, so that means and their errors come free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from steam_recsys.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.holdout import HeldOut, relevant_at
from steam_recsys.evaluation.rankers import Ranker


class Metric(Protocol):
    """A metric of the first k places of a ranking."""

    @property
    def k(self) -> int:
        """How many places count."""

    @property
    def name(self) -> str:
        """As it is written in reports, for example `ndcg_at_10`."""

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """A figure for each user.

        Args:
            hits: bool [B, m], whether the game at each place of the ranking is relevant; m may be more or less than k,
                places beyond m count as misses.
            relevant: int64 [B], how many games are relevant for each user, at least one.

        Returns:
            float64 [B] between 0 and 1.
        """


@dataclass(frozen=True)
class Recall:
    """Hits among the first k over min(k, relevant), so that a perfect ranking scores 1.

    From Liang et al. 2018, "Variational Autoencoders for Collaborative Filtering", section 4.2.

    >>> Recall(2).per_user(np.array([[True, False, True]]), np.array([3]))
    array([0.5])
    """

    k: int

    @property
    def name(self) -> str:
        """As it is written in reports."""
        return f"recall_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """A figure for each user, as `Metric.per_user`."""
        found: Float64Array = hits[:, : self.k].sum(axis=1) / np.minimum(self.k, relevant)
        return found


@dataclass(frozen=True)
class NDCG:
    """Normalised discounted cumulative gain, binary: a hit at place r counts 1 / log2(r + 1).

    Divided by the sum for a perfect ranking, so that this scores 1 (Järvelin and Kekäläinen 2002, "Cumulated
    Gain-Based Evaluation of IR Techniques"; binary and truncated as in Liang et al. 2018, section 4.2).

    >>> NDCG(2).per_user(np.array([[True, False], [True, True]]), np.array([1, 2]))
    array([1., 1.])
    """

    k: int

    @property
    def name(self) -> str:
        """As it is written in reports."""
        return f"ndcg_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """A figure for each user, as `Metric.per_user`."""
        discounts = 1 / np.log2(np.arange(2, self.k + 2))
        counted = hits[:, : self.k]
        gains = counted @ discounts[: counted.shape[1]]
        normalised: Float64Array = gains / np.cumsum(discounts)[np.minimum(self.k, relevant) - 1]
        return normalised


METRIC = NDCG(10)
"""The metric that decides."""


@dataclass(frozen=True)
class MRR:
    """Reciprocal rank of the first hit among the first k, 0 without one.

    From Voorhees 1999, "The TREC-8 Question Answering Track Report", section 3; the mean over users is the MRR.

    >>> MRR(3).per_user(np.array([[False, True, True], [False, False, False]]), np.array([2, 1]))
    array([0.5, 0. ])
    """

    k: int

    @property
    def name(self) -> str:
        """As it is written in reports."""
        return f"mrr_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """A figure for each user, as `Metric.per_user`."""
        counted = hits[:, : self.k]
        first = counted & (np.cumsum(counted, axis=1) == 1)
        reciprocals: Float64Array = first @ (1 / np.arange(1, counted.shape[1] + 1))
        return reciprocals


@dataclass(frozen=True)
class HitRate:
    """1 where at least one of the first k is a hit, else 0.

    From Deshpande and Karypis 2004, "Item-Based Top-N Recommendation Algorithms", section 6.2.

    >>> HitRate(2).per_user(np.array([[True, True], [False, False]]), np.array([2, 1]))
    array([1., 0.])
    """

    k: int

    @property
    def name(self) -> str:
        """As it is written in reports."""
        return f"hit_rate_at_{self.k}"

    def per_user(self, hits: BoolArray, relevant: Int64Array) -> Float64Array:
        """A figure for each user, as `Metric.per_user`."""
        found: Float64Array = (hits[:, : self.k].sum(axis=1) > 0).astype(np.float64)
        return found


def measure(ranker: Ranker, held_out: HeldOut, metrics: tuple[Metric, ...]) -> dict[str, Float64Array]:
    """A ranking of all games, measured: float64 [B], a figure for each user, by the metric's name."""
    ranked = ranker.rank(held_out.history, max(metric.k for metric in metrics))
    return measure_ranked(ranked, held_out.relevant, metrics)


def measure_ranked(ranked: Int32Array, relevant: Histories, metrics: Sequence[Metric]) -> dict[str, Float64Array]:
    """The same of the best games as positions, int32 [B, k], -1 for places that are left empty."""
    hits = relevant_at(ranked, relevant)
    return {metric.name: metric.per_user(hits, relevant.lengths) for metric in metrics}
