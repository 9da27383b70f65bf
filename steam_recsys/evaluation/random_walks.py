"""RP3β: random walks from a user's games to other users of them and on to their games, the likeliest few per game."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags

from steam_recsys.arrays import Float32Array, Int32Array, Int64Array
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.item_item_fits import ItemItemData, largest_of_targets, user_game_matrix


class RandomWalks:
    """Fits RP3β with several settings; those with the same alpha share a count of walks, the last of which is kept."""

    def __init__(self, data: ItemItemData) -> None:
        self._matrix = user_game_matrix(data.counted, data.n_games)
        users = np.bincount(self._matrix.indices, minlength=data.n_games)
        self._users = np.maximum(users, 1).astype(np.float32)
        self._counted: tuple[float, csr_matrix] | None = None

    def fit(self, neighbours: int, alpha: float, beta: float) -> ItemItemWeights:
        """Fit RP3β: a random walk from an owned game to its users and on to their games, with popular ones held back.

        The weight of a game j for an owner of game i, with n(j) users of j and m(u) games of u, is

            n(i) ** -alpha * (sum over users u of both: m(u) ** -alpha) * n(j) ** -beta

        (Paudel et al. 2016, "Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive Applications",
        section 4.2). With a beta of 0, it is P3α.

        Args:
            neighbours: Number of games j keeps: those from which most walks arrive.
            alpha: Exponent of the transition probabilities.
            beta: Exponent of popularity.

        Returns:
            What owning game i (row) adds to the score of game j.
        """
        owned, wanted = self._users**-alpha, self._users**-beta

        def weigh(target: Int64Array, source: Int32Array, walks: Float32Array) -> Float32Array:
            weights: Float32Array = walks * owned[source] * wanted[target]
            return weights

        return largest_of_targets(self._walks(alpha), weigh, neighbours)

    def _walks(self, alpha: float) -> csr_matrix:
        """Count the users who have both of two games, each with weight m(u) ** -alpha, sparse float32 [N, N]."""
        if self._counted is None or self._counted[0] != alpha:
            self._counted = None  # two would take twice the memory
            games = np.maximum(np.diff(self._matrix.indptr), 1).astype(np.float32)
            walks = (self._matrix.T @ (diags(games**-alpha) @ self._matrix)).tocsr()
            walks.sort_indices()
            self._counted = alpha, walks
        return self._counted[1]
