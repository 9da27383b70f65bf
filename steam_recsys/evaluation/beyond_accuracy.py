"""What rankings make of a whole catalogue: how much of it they show, how evenly, and how little known it is.

Coverage and the Gini index are figures of all users together and no means over users. Resampled users, of whom some
come twice and some not at all, are always shown fewer games, so the bootstrap says nothing of them and they have no
intervals. Novelty is a mean and has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import Float64Array, Int32Array


@dataclass(frozen=True)
class Coverage:
    """The share of the catalogue that is among the first k of anybody.

    "Catalog coverage" of Ge, Delgado-Battenfeld and Jannach 2010, "Beyond Accuracy: Evaluating Recommender Systems by
    Coverage and Serendipity".

    >>> Coverage(2).of(np.array([[0, 1, 3], [1, 0, 2]]), n_games=4)
    0.5
    """

    k: int

    @property
    def name(self) -> str:
        """As it is written in reports."""
        return f"coverage_at_{self.k}"

    def of(self, ranked: Int32Array, n_games: int) -> float:
        """The figure, between 0 and 1.

        Args:
            ranked: positions in the catalogue, int32 [B, m], -1 for places that are left empty.
            n_games: the catalogue's size.
        """
        return float((_times_shown(ranked[:, : self.k], n_games) > 0).mean()) if n_games else 0.0


@dataclass(frozen=True)
class Gini:
    """How unevenly the places among the first k fall to the games: 0 evenly, 1 all of them to one game.

        G = sum over j of (2j - N - 1) p(j) / (N - 1), the games ordered by p(j), their shares of the places

    (Castells, Hurley and Vargas 2015, "Novelty and Diversity in TwoTowerArrays Systems", section 26.3.)

    >>> Gini(1).of(np.array([[2], [2], [2]]), n_games=3), Gini(1).of(np.array([[0], [1], [2]]), n_games=3)
    (1.0, 0.0)
    """

    k: int

    @property
    def name(self) -> str:
        """As it is written in reports."""
        return f"gini_at_{self.k}"

    def of(self, ranked: Int32Array, n_games: int) -> float:
        """The figure, as `Coverage.of`; 0 for a single game, and where nothing is shown."""
        shown = np.sort(_times_shown(ranked[:, : self.k], n_games))
        if n_games < 2 or not shown[-1]:
            return 0.0
        places = 2 * np.arange(1, n_games + 1) - n_games - 1
        return float(places @ shown / (n_games - 1) / shown.sum())


@dataclass(frozen=True)
class Novelty:
    """Mean self-information of the first k games, in bits: -log2 of a game's share of all that is recommended.

    From Vargas and Castells 2011, "Rank and Relevance in Novelty and Diversity Metrics for Recommender Systems". A game
    that nobody recommends counts as one that a single user does.

    >>> Novelty(2).per_user(np.array([[0, 1], [1, -1]]), np.array([4.0, 4.0, 8.0]))
    array([2., 2.])
    """

    k: int

    @property
    def name(self) -> str:
        """As it is written in reports."""
        return f"novelty_at_{self.k}"

    def per_user(self, ranked: Int32Array, popularity: Float64Array) -> Float64Array:
        """A figure for each user, float64 [B]; 0 for a user without recommendations.

        Args:
            ranked: positions in the catalogue, int32 [B, m], -1 for places that are left empty.
            popularity: how many users recommend each game, float64 [N].
        """
        counted = ranked[:, : self.k]
        bits = np.log2(max(1.0, popularity.sum())) - np.log2(np.maximum(1.0, popularity))
        filled = counted >= 0
        information = np.where(filled, bits[counted], 0).sum(axis=1) if len(bits) else np.zeros(len(ranked))
        means: Float64Array = information / np.maximum(1, filled.sum(axis=1))
        return means


def _times_shown(ranked: Int32Array, n_games: int) -> Float64Array:
    """How often each game of the catalogue is recommended, float64 [n_games]."""
    return np.bincount(ranked[ranked >= 0], minlength=n_games).astype(np.float64)
