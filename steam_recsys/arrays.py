"""Types of NumPy arrays, and small functions on arrays that several modules need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


def offsets_from_lengths(lengths: npt.NDArray[np.integer | np.bool_]) -> Int64Array:
    """Return where each of n runs begins in a flat array, and where the last one ends.

    Args:
        lengths: Integer or boolean array of shape [n].

    Returns:
        int64 array of shape [n + 1], beginning with 0.

    Example:
        >>> offsets_from_lengths(np.array([2, 0, 3])).tolist()
        [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def contains(ascending: Int64Array, values: Int64Array) -> BoolArray:
    """Return which values are in an ascending array, bool of the values' shape; by binary search, unlike `np.isin`.

    Example:
        >>> contains(np.array([2, 5]), np.array([[5, 3], [2, 9]]))
        array([[ True, False],
               [ True, False]])
    """
    if not len(ascending):
        return np.zeros(values.shape, dtype=bool)
    found: BoolArray = ascending[np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)] == values
    return found


def hashed(ids: Int64Array, stream: int) -> npt.NDArray[np.uint64]:
    """Hash ids to numbers that look random, uint64 [n]. Different streams have different numbers for the same ids.

    This is SplitMix64, with the ids as the states (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number
    Generators", section 3, figure 16).
    """
    mixed: npt.NDArray[np.uint64] = ids.astype(np.uint64) + np.uint64(stream * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def normalised(vectors: Float32Array) -> Float32Array:
    """Scale vectors to length one, float32 [B, d]; zero vectors stay zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    lengths[lengths == 0] = 1
    unit: Float32Array = vectors / lengths[:, None]
    return unit
