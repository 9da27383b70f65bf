"""EASE, the best linear model of which games go together, in closed form.

Each user's history is reconstructed from the user's other games with the weights

    B = I - P / diag(P), where P = (X'X + λI)⁻¹

(Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", equation 8). The catalogue's square must fit the
memory.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.shared.histories import Histories
from components.shared.interactions import Floats

Doubles = npt.NDArray[np.float64]

MAX_GAMES = 8_000
"""The largest catalogue: its square takes 256 MB, its inversion half a minute on two cores."""

_PAIRS = 1 << 24
"""Pairs of games counted at a time."""


def ease(histories: Histories, n_games: int, regularisation: float) -> Floats:
    """The weights, float32 [n_games, n_games]: what having a game adds to the score of another; zero on the diagonal.

    Args:
        histories: users' games as positions below `n_games`.
        n_games: at most `MAX_GAMES`.
        regularisation: λ; the larger, the more users must agree.
    """
    gram: Floats = cooccurrences(histories, n_games).astype(np.float32)
    gram[np.diag_indices(n_games)] += np.float32(regularisation)
    inverse = np.linalg.inv(gram)
    weights: Floats = (-inverse / np.diag(inverse)).astype(np.float32, copy=False)
    np.fill_diagonal(weights, 0)
    return weights


def cooccurrences(histories: Histories, n_games: int) -> Doubles:
    """How many users have both of two games, float64 [n_games, n_games]; on the diagonal, how many have one."""
    counts = np.zeros(n_games * n_games)
    lengths = histories.lengths
    ends = np.cumsum(lengths**2)
    start = 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS)))
        users = histories.take(np.arange(start, stop))
        # Each game of a user, as often as the user has games, beside all of the user's games.
        repeats = np.repeat(users.lengths, users.lengths)
        left = np.repeat(users.games.astype(np.int64), repeats)
        within = np.arange(len(left)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        right = users.games[np.repeat(np.repeat(users.offsets[:-1], users.lengths), repeats) + within]
        np.add.at(counts, left * n_games + right, 1)
        start = stop
    return counts.reshape(n_games, n_games)
