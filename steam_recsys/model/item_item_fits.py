"""Fits of item-item weights: how much having one game says about having another, learned from histories.

The training takes the model's item-item weights from here, and the evaluation its baselines.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from steam_recsys.arrays import Float32Array
from steam_recsys.data.histories import Histories

EASE_MAX_GAMES = 8_000
"""The largest catalogue: its square takes 256 MB, the inversion nine times that and half a minute on two cores."""


def ease(counts: Float32Array, regularisation: float) -> Float32Array:
    """Return the item-item weights of EASE, float32 [N, N] with a zero diagonal.

    Each user's history is reconstructed from the user's other games with the weights

        B = I - P / diag(P), where P = (X'X + λI)⁻¹

    (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", equation 8).

    Args:
        counts: Co-occurrence counts from `cooccurrences`, float32 [N, N].
        regularisation: λ.

    Returns:
        What owning game i (row) adds to the score of game j (column).
    """
    gram = counts.copy()
    gram[np.diag_indices(len(gram))] += np.float32(regularisation)
    inverse = np.linalg.inv(gram)
    weights: Float32Array = (-inverse / np.diag(inverse)).astype(np.float32, copy=False)
    np.fill_diagonal(weights, 0)
    return weights


def dlae(counts: Float32Array, dropout: float, regularisation: float) -> Float32Array:
    """Return the item-item weights of DLAE, float32 [N, N] with a zero diagonal.

    Each user's history is reconstructed from what dropout leaves of it, with the weights

        B = (X'X + Λ)⁻¹ X'X = I - (X'X + Λ)⁻¹ Λ, where Λ = p / (1 - p) diag(X'X) + λI

    (Steck 2020, "Autoencoders that don't overfit towards the Identity", section 3.2). The diagonal plays no part, as
    users are not recommended games that they have.

    Args:
        counts: Co-occurrence counts from `cooccurrences`, float32 [N, N].
        dropout: p, between 0 and 1.
        regularisation: λ.

    Returns:
        What owning game i (row) adds to the score of game j (column).
    """
    gram = counts.copy()
    penalties = (dropout / (1 - dropout) * np.diag(counts) + regularisation).astype(np.float32)
    gram[np.diag_indices(len(gram))] += penalties
    weights: Float32Array = (-np.linalg.inv(gram) * penalties).astype(np.float32, copy=False)
    np.fill_diagonal(weights, 0)
    return weights


def cooccurrences(histories: Histories, n_games: int) -> Float32Array:
    """Count the users who have both of two games, float32 [n_games, n_games]; the diagonal counts a game's users."""
    matrix = user_game_matrix(histories, n_games)
    counts: Float32Array = (matrix.T @ matrix).toarray()
    return counts


def user_game_matrix(histories: Histories, n_games: int) -> csr_matrix:
    """Return users by games, float32 [B, n_games], 1 if a user has a game."""
    values = np.ones(len(histories.games), dtype=np.float32)
    return csr_matrix((values, histories.games, histories.offsets), shape=(len(histories), n_games))
