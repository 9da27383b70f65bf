"""Weights between games that share users, the few largest per game: item-kNN and RP3β.

Co-occurrences are counted for a block of games after another and cut at once, so that memory stays small however many
games share users.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix, diags, vstack

from steam_recsys.arrays import Float32Array, Int32Array, offsets_from_lengths

BLOCK_PRODUCTS = 1 << 24
"""Pairs of a user's games that are multiplied at a time, unless one game has more."""


def item_knn(matrix: csr_matrix, neighbours: int, asymmetry: float, shrinkage: float) -> csr_matrix:
    """Fit item-kNN with a cosine that may be asymmetric and shrunk.

    The similarity of an owned game i to a game j, with n(i) users of i and n(i, j) of both, is

        n(i, j) / (n(i) ** asymmetry * n(j) ** (1 - asymmetry) + shrinkage)

    (asymmetric: Aiolli 2013, "Efficient Top-N Recommendation for Very Large Scale Binary Rated Datasets", section 3.2;
    shrunk: Bell and Koren 2007, "Improved Neighborhood-based Collaborative Filtering", section 3). With 0.5 and no
    shrinkage, it is the cosine. As in Sarwar et al. 2001, "Item-Based Collaborative Filtering Recommendation
    Algorithms", section 3.1, a game's score is the sum of its similarities to those of the user's games that are among
    its own nearest.

    Args:
        matrix: Users by games, float32 [B, N], of zeros and ones.
        neighbours: Number of nearest games that each game keeps.
        asymmetry: Exponent of the owned game's users, from 0 to 1. The higher, the more a popular game gains.
        shrinkage: Users added to the denominator, so that few users in common say less.

    Returns:
        What owning game i (row) adds to the score of game j (column), float32 [N, N], its diagonal empty.
    """
    users = _column_sums(matrix)
    owned, wanted = users**asymmetry, users ** (1 - asymmetry)

    def similarities(target: Int32Array, source: Int32Array, both: Float32Array) -> Float32Array:
        return (both / (owned[source] * wanted[target] + shrinkage)).astype(np.float32)

    return _largest_per_target(matrix, np.ones(matrix.shape[0], dtype=np.float32), similarities, neighbours)


def rp3beta(matrix: csr_matrix, neighbours: int, alpha: float, beta: float) -> csr_matrix:
    """Fit RP3β: a random walk from an owned game to its users and on to their games, with popular ones held back.

    The weight of a game j for an owner of game i, with n(j) users of j and m(u) games of u, is

        n(i) ** -alpha * (sum over users u of both: m(u) ** -alpha) * n(j) ** -beta

    (Paudel et al. 2016, "Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive Applications",
    section 4.2). With a beta of 0, it is P3α.

    Args:
        matrix: Users by games, float32 [B, N], of zeros and ones.
        neighbours: Number of games j keeps: those from which most walks arrive.
        alpha: Exponent of the transition probabilities.
        beta: Exponent of popularity.

    Returns:
        What owning game i (row) adds to the score of game j (column), float32 [N, N], its diagonal empty.
    """
    users, games = _column_sums(matrix), np.maximum(np.diff(matrix.indptr), 1).astype(np.float32)
    owned, wanted = users**-alpha, users**-beta

    def probabilities(target: Int32Array, source: Int32Array, both: Float32Array) -> Float32Array:
        values: Float32Array = both * owned[source] * wanted[target]
        return values

    return _largest_per_target(matrix, games**-alpha, probabilities, neighbours)


def _largest_per_target(
    matrix: csr_matrix,
    user_weights: Float32Array,
    values: Callable[[Int32Array, Int32Array, Float32Array], Float32Array],
    neighbours: int,
) -> csr_matrix:
    """Keep the largest weights from other games to each game; of equal ones, any.

    Args:
        matrix: Users by games, float32 [B, N].
        user_weights: What each user in common counts, float32 [B].
        values: Computes weights, float32 [n], from the games that they lead to and those that they come from, both
            int32 [n], and from what the users of both count, float32 [n].
        neighbours: Number of weights to keep.

    Returns:
        The weights from owned games (rows) to games (columns), float32 [N, N], the diagonal empty.
    """
    weighted = (diags(user_weights) @ matrix).tocsr()
    by_game = matrix.T.tocsr()
    # A game is multiplied with all games of its users, which also bounds the entries of its row.
    products = np.cumsum(by_game @ np.diff(matrix.indptr).astype(np.float64))
    n_games, start, blocks = matrix.shape[1], 0, []
    while start < n_games:
        before = products[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(products, before + BLOCK_PRODUCTS, side="right")))
        both = (by_game[start:stop] @ weighted).tocsr()
        rows = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(both.indptr))
        both.data = values(rows, both.indices, both.data).astype(np.float32, copy=False)
        both.data[rows == both.indices] = 0
        both.eliminate_zeros()
        blocks.append(_largest_per_row(both, neighbours))
        start = stop
    return vstack(blocks).T.tocsr() if blocks else csr_matrix((0, 0), dtype=np.float32)


def _largest_per_row(matrix: csr_matrix, per_row: int) -> csr_matrix:
    """Keep the largest entries of each row."""
    kept = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(matrix.indptr) > per_row):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        dropped = np.argpartition(-matrix.data[entries], per_row)[per_row:]
        kept[entries][dropped] = False
    offsets = offsets_from_lengths(kept)[matrix.indptr]
    return csr_matrix((matrix.data[kept], matrix.indices[kept], offsets), shape=matrix.shape)


def _column_sums(matrix: csr_matrix) -> Float32Array:
    """Count the users of each game, float32 [N], as one if there are none."""
    return np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1).astype(np.float32)
