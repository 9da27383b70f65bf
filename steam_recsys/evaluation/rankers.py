"""Rankings of whole catalogues from scores, for as many users at a time as fit the memory."""

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
"""Scores of whole catalogues held at a time, 64 MB of float32."""


class Ranker(Protocol):
    """Anything that ranks a catalogue for users."""

    def rank(self, history: Histories, k: int) -> Int32Array:
        """The k best games that are not in the history, as positions: int32 [B, k], -1 where fewer are left."""


@dataclass(frozen=True)
class ModelRanker:
    """A model's order of a catalogue, as `Scorer.recommend` has it, without the reasons."""

    catalogue: Scorer

    def rank(self, history: Histories, k: int) -> Int32Array:
        """The k best games, as `Ranker.rank`."""
        return rank_by_scores(self.catalogue.scores, history, len(self.catalogue), k)


def rank_by_scores(scores: Callable[[Histories], Float32Array], history: Histories, n_games: int, k: int) -> Int32Array:
    """The k best games for each user, as `Ranker.rank`, ties by position.

    Args:
        scores: a block of users' scores of all games, float32 [b, n_games].
        history: the users'.
        n_games: the catalogue's size.
        k: how many.
    """
    ranked = np.empty((len(history), k), dtype=np.int32)
    block = max(1, BLOCK_SCORES // max(1, n_games))
    for start in range(0, len(history), block):
        rows = np.arange(start, min(start + block, len(history)))
        users = history.take(rows)
        found = scores(users)
        found[users.owners, users.games] = -np.inf
        ranked[rows], _ = top_k(found, k)
    return ranked
