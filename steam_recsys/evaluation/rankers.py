"""Rank whole catalogues from scores, for as many users at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Callable
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
    """Anything that ranks a catalogue for users."""

    def rank(self, history: Histories, k: int) -> Int32Array:
        """Return the k best games outside each user's history, as positions: int32 [B, k], -1 if fewer are left."""


@dataclass(frozen=True)
class ModelRanker:
    """Ranks by a model, in the order of `Scorer.recommend`, without explanations."""

    scorer: Scorer

    def rank(self, history: Histories, k: int) -> Int32Array:
        """See `Ranker.rank`."""
        return rank_by_scores(self.scorer.scores, history, len(self.scorer), k)


@dataclass(frozen=True)
class StaticRanker:
    """Ranks by the same weights for everybody, float32 [N], leaving out each user's own games."""

    weights: Float32Array

    def rank(self, history: Histories, k: int) -> Int32Array:
        """See `Ranker.rank`."""
        return rank_by_scores(lambda users: np.tile(self.weights, (len(users), 1)), history, len(self.weights), k)


def rank_by_scores(scores: Callable[[Histories], Float32Array], history: Histories, n_games: int, k: int) -> Int32Array:
    """Return the k best games for each user, see `Ranker.rank`; ties are ordered by position.

    Args:
        scores: Function from a block of b users to their scores of all games, float32 [b, n_games].
        history: The users' histories.
        n_games: Size of the catalogue.
        k: Length of each ranking.
    """
    ranked = np.empty((len(history), k), dtype=np.int32)
    block = max(1, BLOCK_SCORES // max(1, n_games))
    for start in range(0, len(history), block):
        rows = np.arange(start, min(start + block, len(history)))
        users = history.take(rows)
        block_scores = scores(users)
        block_scores[users.owners, users.games] = -np.inf
        ranked[rows], _ = top_k(block_scores, k)
    return ranked
