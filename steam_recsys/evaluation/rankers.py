"""Rank whole catalogues from scores, for as many users at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from steam_recsys.arrays import Float32Array, Int32Array
from steam_recsys.data.histories import Histories
from steam_recsys.model.retrieval import top_k
from steam_recsys.model.scorer import Scorer

BLOCK_SCORES = 1 << 24
"""Scores held at a time, 64 MB of float32."""


class Ranker(Protocol):
    """Anything that scores a catalogue of N games for users."""

    @property
    def n_games(self) -> int:
        """N, the size of the catalogue."""

    def scores(self, history: Histories) -> Float32Array:
        """Score every game for each user of a block, float32 [B, N], in an array that the caller may change.

        The users' own games have scores too; `rank` leaves them out.
        """


@dataclass(frozen=True)
class ModelRanker:
    """Ranks by a model, in the order of `Scorer.recommend`, without explanations.

    Attributes:
        scorer: The model.
        popularity_weight: Factor of the popularity prior; None for the model's own.
    """

    scorer: Scorer
    popularity_weight: float | None = None

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return len(self.scorer)

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        return self.scorer.scores(history, self.popularity_weight)


@dataclass(frozen=True)
class StaticRanker:
    """Ranks by the same weights for everybody, float32 [N]."""

    weights: Float32Array

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return len(self.weights)

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        return np.tile(self.weights, (len(history), 1))


def rank(ranker: Ranker, history: Histories, k: int) -> Int32Array:
    """Return the k best games outside each user's history; ties are ordered by position.

    Returns:
        Positions in the catalogue, int32 [B, k], -1 if fewer games are left.

    Example:
        >>> rank(StaticRanker(np.array([1, 3, 2], np.float32)), Histories.from_games([1], []), 2).tolist()
        [[2, 0], [1, 2]]
    """
    ranked = np.empty((len(history), k), dtype=np.int32)
    for rows, scores in score_blocks(ranker, history):
        ranked[rows], _ = top_k(scores, k)
    return ranked


def score_blocks(ranker: Ranker, history: Histories) -> Iterator[tuple[slice, Float32Array]]:
    """Score all games for a block of users after another, the users' own games with -inf.

    Yields:
        The block's rows, and its scores, float32 [b, N].
    """
    block = max(1, BLOCK_SCORES // max(1, ranker.n_games))
    for start in range(0, len(history), block):
        rows = slice(start, min(start + block, len(history)))
        users = history.take(np.arange(rows.start, rows.stop))
        scores = ranker.scores(users)
        scores[users.owners, users.games] = -np.inf
        yield rows, scores
