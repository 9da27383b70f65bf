"""Negatives for the sampled softmax: games that stand for the whole catalogue, each for as many as it is unlikely.

Half of the draws are by popularity, as in-batch negatives are, and half uniform, so that the long tail is seen too
(Yang et al. 2020, "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import Float32Array, Int32Array, Int64Array

UNIFORM_SHARE = 0.5


@dataclass(frozen=True)
class Negatives:
    """A sample of S games.

    Attributes:
        games: int32 [S], ascending.
        corrections: float32 [S], added to their logits, so that the sum of their exponentials is, on average, that over
            the whole catalogue (logQ correction: Bengio and Senécal 2008, "Adaptive Importance Sampling", section 3).
        hits: int64 [H, 2], rows and columns at which a row's own target was drawn, which counts as a target only.
    """

    games: Int32Array
    corrections: Float32Array
    hits: Int64Array

    def without(self, targets: Int32Array, target_lengths: Int64Array) -> Negatives:
        """The same, with the hits of a batch's targets."""
        columns = np.minimum(np.searchsorted(self.games, targets), len(self.games) - 1)
        found = self.games[columns] == targets
        rows = np.repeat(np.arange(len(target_lengths)), target_lengths)
        return replace(self, hits=np.stack([rows[found], columns[found]], axis=1).astype(np.int64))


@dataclass(frozen=True)
class NegativeSampler:
    """Draws negatives, with replacement.

    Attributes:
        cumulative: float64 [V], the sum of the probabilities up to each game.
        draws: how many.
    """

    cumulative: npt.NDArray[np.float64]
    draws: int

    @classmethod
    def from_popularity(cls, popularity: npt.NDArray[np.float64], draws: int) -> NegativeSampler:
        """By the numbers of users who recommend each of the games, float64 [V]."""
        shares = (1 - UNIFORM_SHARE) * popularity / max(popularity.sum(), 1) + UNIFORM_SHARE / len(popularity)
        return cls(np.cumsum(shares), draws)

    def draw(self, random: np.random.Generator) -> Negatives:
        """A sample; a game that is drawn twice counts twice, in one column."""
        total = self.cumulative[-1]
        drawn = np.searchsorted(self.cumulative, random.random(self.draws) * total, side="right")
        games, counts = np.unique(np.minimum(drawn, len(self.cumulative) - 1), return_counts=True)
        shares = np.diff(self.cumulative, prepend=0)[games] / total
        corrections = np.log(counts / (self.draws * shares))
        return Negatives(games.astype(np.int32), corrections.astype(np.float32), np.zeros((0, 2), dtype=np.int64))
