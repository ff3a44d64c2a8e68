"""Counting along the last axis, of vectors that are short and many."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.geometry import norms

# Flags that are counted at once, a byte each, and words of them whose sum fits into a byte.
_AT_ONCE: Final = 8
_WORDS: Final = 31
# Multiplied by this, the highest byte of a word is the sum of its bytes.
_EACH: Final = np.uint64(0x0101010101010101)
_HIGHEST: Final = np.uint64(56)
# Up to here float32 has all whole numbers.
_EXACT: Final = 1 << 24
# The size of what 16 bits hold, with a sign or without.
_SIZE: Final = 1 << 16


def count(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many are true of contiguous flags ``(..., dim)``: ``(...)`` int64."""
    if flags.shape[-1] % _AT_ONCE or not flags.shape[-1]:
        return np.asarray(flags.sum(axis=-1), np.int64)
    words = flags.view(np.uint64)
    found = np.zeros(flags.shape[:-1], np.uint64)
    for start in range(0, words.shape[-1], _WORDS):
        found += np.einsum("...w->...", words[..., start : start + _WORDS]) * _EACH >> _HIGHEST
    return found.view(np.int64)


def total(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Exact sums of ``(..., dim)`` whole numbers of 16 bits or of 32; of float64, its sums."""
    if numbers.dtype.itemsize == 2 and numbers.shape[-1] * _SIZE <= _EXACT:
        # A product with ones takes a half of the time of a sum, and no sum on its way leaves float32.
        ones = np.ones(numbers.shape[-1], np.float32)
        return np.asarray(numbers.astype(np.float32) @ ones, np.float64)
    wide = np.int64 if numbers.dtype.kind in "iu" else None
    return np.asarray(numbers.sum(axis=-1, dtype=wide), np.float64)


def lengths(numbers: NDArray[Any], largest: float) -> NDArray[np.float64]:
    """Euclidean norms of ``(..., dim)`` numbers, of which none is larger in size."""
    if numbers.dtype.kind in "iu" and largest**2 * numbers.shape[-1] < _EXACT:
        # Whole numbers below 2^24 are exact in float32, in any order of adding.
        small = numbers.astype(np.float32)
        squares = np.einsum("...d,...d->...", small, small).astype(np.float64)
        return np.asarray(np.sqrt(squares), np.float64)
    return norms(numbers.astype(np.float64, copy=False))
