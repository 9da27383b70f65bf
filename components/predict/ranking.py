"""The k best of many scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 32
"""Columns a block: whatever is among the k best stands in one of the k blocks with the best maxima."""


def top_k(scores: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The k best columns of each row, best first, equal scores by column; a score of -inf is never among them.

    Exact. Only each block's maximum and the columns of the k best blocks are looked at more than once; of blocks with
    equal maxima the first counts as better, so that ties come out by column here too.

    Args:
        scores: float32 [B, N], without NaN.
        k: how many.

    Returns:
        Columns, int32 [B, k], -1 where a row has fewer than k finite scores; and their scores, float32 [B, k], -inf
        there.
    """
    n_rows, n_columns = scores.shape
    columns = np.full((n_rows, k), -1, dtype=np.int32)
    values = np.full((n_rows, k), -np.inf, dtype=np.float32)
    taken = min(k, n_columns)
    if not taken or not n_rows:
        return columns, values
    candidates = _candidate_columns(scores, taken)
    found = np.where(
        candidates < n_columns,
        np.take_along_axis(scores, np.minimum(candidates, n_columns - 1), axis=1),
        np.float32(-np.inf),
    )
    order = _best_first(found, candidates, taken)
    best = np.take_along_axis(found, order, axis=1)
    values[:, :taken] = best
    columns[:, :taken] = np.where(np.isneginf(best), -1, np.take_along_axis(candidates, order, axis=1))
    return columns, values


def _candidate_columns(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Columns among which the k best are, int64 [B, m]; those beyond the last stand for nothing."""
    n_rows, n_columns = scores.shape
    n_blocks = -(-n_columns // BLOCK)
    if n_blocks <= k:
        return np.broadcast_to(np.arange(n_columns), scores.shape)
    maxima = np.maximum.reduceat(scores, np.arange(0, n_columns, BLOCK), axis=1)
    blocks = _best_first(maxima, np.broadcast_to(np.arange(n_blocks), maxima.shape), k)
    return (blocks[:, :, None] * BLOCK + np.arange(BLOCK)).reshape(n_rows, -1)


def _best_first(scores: npt.NDArray[np.float32], columns: npt.NDArray[Any], k: int) -> npt.NDArray[np.int64]:
    """Where in each row the k highest scores stand, best first, equal ones by column: int64 [B, k]."""
    keys = _descending(scores) << np.uint64(32) | columns.astype(np.uint64)
    if k < keys.shape[1]:
        chosen = np.argpartition(keys, k - 1, axis=1)[:, :k]
        return np.take_along_axis(chosen, np.argsort(np.take_along_axis(keys, chosen, axis=1), axis=1), axis=1)
    return np.argsort(keys, axis=1)


def _descending(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """Integers that ascend as the scores descend: a float's bits, all but the sign's turned over where positive.

    The order of IEEE 754 floats is that of their bits as sign and magnitude.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # adding zero makes -0.0 and 0.0 equal
    negative = (bits >> np.uint32(31)).astype(bool)
    return np.where(negative, bits, ~bits & np.uint32(0x7FFFFFFF)).astype(np.uint64)
