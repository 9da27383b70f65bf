"""The k best of many scores."""

from __future__ import annotations

import numpy as np

from steam_recsys.arrays import Float32Array, Int32Array, Int64Array

BLOCK = 32
"""Scores a block: few enough that the k best blocks hold little besides the k best scores."""


def top_k(scores: Float32Array, k: int) -> tuple[Int32Array, Float32Array]:
    """The k best columns of each row, best first, equal scores by column; a score of -inf is never among them.

    Args:
        scores: float32 [B, N], without NaN.
        k: how many.

    Returns:
        Columns, int32 [B, k], -1 where a row has fewer than k finite scores; and their scores, float32 [B, k], -inf
        there.
    """
    columns = np.full((len(scores), k), -1, dtype=np.int32)
    values = np.full((len(scores), k), -np.inf, dtype=np.float32)
    for row, of_row in enumerate(scores):
        best = _best(of_row, k)
        columns[row, : len(best)] = best
        values[row, : len(best)] = of_row[best]
    return columns, values


def _best(scores: Float32Array, k: int) -> Int64Array:
    """Where the k highest of float32 [N] stand, as `top_k` orders them: int64, as many as there are."""
    found = np.flatnonzero(scores >= max(_bound(scores, k), np.finfo(np.float32).min))
    return found[np.argsort(-scores[found], kind="stable")[:k]]


def _bound(scores: Float32Array, k: int) -> np.float32:
    """A lower bound of the k-th highest score, -inf where there are no more than k.

    The k-th highest of the blocks' maxima: each of k blocks holds a score that is no lower. A block is every M-th
    score, so that the maxima of all are taken along contiguous memory.
    """
    n_blocks = len(scores) // BLOCK
    if n_blocks > k:
        scores = scores[: n_blocks * BLOCK].reshape(BLOCK, n_blocks).max(axis=0)
    rank = len(scores) - k
    return np.partition(scores, rank)[rank] if 0 < k <= len(scores) else np.float32(-np.inf)
