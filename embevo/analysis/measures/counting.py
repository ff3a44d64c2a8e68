"""Counting along the last axis, of vectors that are short and many."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.geometry import norms

# Flags that are counted at once, a byte each.
_AT_ONCE: Final = 8
# So many numbers of 17 bits add up to what 32 bits hold.
_FEW: Final = 1 << 14
# Up to here float32 has all whole numbers.
_EXACT: Final = 1 << 24


def count(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many are true of contiguous flags ``(..., dim)``: ``(...)`` int64."""
    if flags.shape[-1] % _AT_ONCE or not flags.shape[-1]:
        return np.asarray(flags.sum(axis=-1), np.int64)
    return np.asarray(np.bitwise_count(flags.view(np.uint64)).sum(axis=-1), np.int64)


def total(numbers: NDArray[Any]) -> NDArray[Any]:
    """Sums of ``(..., dim)`` numbers: float64 of those, and whole numbers of int32 below 2^17 in size."""
    if numbers.dtype != np.int32:
        return np.asarray(numbers.sum(axis=-1))
    # Sums of 32 bits take a third of the time.
    return np.asarray(numbers.sum(axis=-1, dtype=np.int32 if numbers.shape[-1] <= _FEW else np.int64))


def lengths(numbers: NDArray[Any], largest: float) -> NDArray[np.float64]:
    """Euclidean norms of ``(..., dim)`` numbers, of which none is larger in size."""
    if numbers.dtype == np.int32 and largest**2 * numbers.shape[-1] < _EXACT:
        # Whole numbers below 2^24 are exact in float32, in any order of adding.
        small = numbers.astype(np.float32)
        squares = np.einsum("...d,...d->...", small, small).astype(np.float64)
        return np.asarray(np.sqrt(squares), np.float64)
    return norms(numbers.astype(np.float64, copy=False))
