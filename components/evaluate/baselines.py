"""What a model has to beat: the games that everybody plays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.predict.ranking import top_k
from components.shared.histories import Histories
from components.shared.interactions import Floats, Interactions, Ints
from components.shared.popularity import popularity, recent_popularity

BLOCK_SCORES = 1 << 24
"""Scores held at a time."""


@dataclass(frozen=True)
class StaticRanking:
    """The same order for everybody, without the games that a user has: `weights` is float32 [N]."""

    weights: Floats

    def rank(self, history: Histories, k: int) -> Ints:
        """The k best games for each user as positions, int32 [B, k], -1 where fewer are left; ties by position."""
        ranked = np.empty((len(history), k), dtype=np.int32)
        block = max(1, BLOCK_SCORES // max(1, len(self.weights)))
        for start in range(0, len(history), block):
            rows = np.arange(start, min(start + block, len(history)))
            users = history.take(rows)
            scores = np.tile(self.weights, (len(rows), 1))
            scores[np.repeat(np.arange(len(rows)), users.lengths), users.games] = -np.inf
            ranked[rows], _ = top_k(scores, k)
        return ranked


def popularity_baselines(past: Interactions, positions: Ints, cutoff: int, n_games: int) -> dict[str, StaticRanking]:
    """Popularity and recent popularity as of a day, by name.

    Args:
        past: interactions.
        positions: int32, each interaction's game as a position in the catalogue.
        cutoff: the day, in days since 1970-01-01; interactions on it or after do not count.
        n_games: the catalogue's size.
    """
    before = past.days < cutoff
    return {
        "popularity": StaticRanking(popularity(positions[before & past.dated], n_games).astype(np.float32)),
        "recent popularity": StaticRanking(recent_popularity(positions, past.days, cutoff, n_games).astype(np.float32)),
    }
