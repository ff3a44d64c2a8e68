"""Which rows of a matrix are the same, bit for bit, found by hashing and then made sure of."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Hashed so many words at a time: what is in between stays in the cache.
_CHUNK_WORDS: Final = 1 << 18
# Words that are hashed at once: what the cache of a core holds.
_HASHED_WORDS: Final = 1 << 15
_SEED: Final = 0x5EED


def words_of(values: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    """The bits of values ``(..., dim)``, as ``(..., words)`` of 32 bits, or of 16 where that leaves some."""
    whole = values.shape[-1] * values.dtype.itemsize % 4 == 0
    return np.ascontiguousarray(values).view(np.uint32 if whole else np.uint16)


def without_negative_zeros(values: NDArray[Any]) -> NDArray[Any]:
    """The same values with +0 for every -0, so that equal rows have equal bits; itself without any.

    Args:
        values: floats, or their bits as signed numbers of the same width.
    """
    integers = np.ascontiguousarray(values).view(f"i{values.dtype.itemsize}")
    negative = integers == np.iinfo(integers.dtype).min
    if not negative.any():
        return values
    return np.where(negative, values.dtype.type(0), values)


def row_hashes(words: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint64]:
    """A 64-bit hash of each row ``(..., words)``.

    Sum of word times a random odd number of 64 bits, modulo 2^64, over the words: multilinear hashing
    (Carter and Wegman, 1979). Different rows collide with a probability of about 2^-32 a pair, so equal
    hashes are a hint and not yet a finding.
    """
    *shape, width = words.shape
    factors = np.random.default_rng(_SEED).integers(0, 2**64, width, np.uint64) | np.uint64(1)
    rows = words.reshape(-1, width)
    hashes = np.empty(len(rows), np.uint64)
    step = max(1, _HASHED_WORDS // width)
    for start in range(0, len(rows), step):
        part = rows[start : start + step].astype(np.uint64)
        np.einsum("rw,w->r", part, factors, out=hashes[start : start + step])
    return hashes.reshape(shape)


def representatives(values: NDArray[Any]) -> NDArray[np.int64]:
    """For each row the smallest token id whose row has the same bits.

    Args:
        values: ``(step, token, dim)`` float32 or float64, or the bits of values as numbers of any width.

    Returns:
        ``(step, token)`` int64: its own id for a token that is alone or first.
    """
    words = words_of(values)
    found = _first_equal(row_hashes(words))
    # Rows with one hash are compared in full with the row that stands for them.
    step, token = np.nonzero(found != np.arange(words.shape[1]))
    size = max(1, _CHUNK_WORDS // words.shape[2])
    for start in range(0, len(step), size):
        at, mine = step[start : start + size], token[start : start + size]
        collided = (words[at, mine] != words[at, found[at, mine]]).any(axis=1)
        for index in np.unique(at[collided]):
            found[index] = _first_equal_exactly(words[index])
    return found


def _first_equal(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """``(step, token)`` of keys to the smallest token with the same key."""
    # Sorting takes a fifth of the time where equal keys need not stay in their order.
    order = np.argsort(keys, axis=1)
    ordered = np.take_along_axis(keys, order, axis=1)
    starts = np.ones(keys.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = np.flatnonzero(starts)
    found = np.empty(keys.shape, np.int64)
    if len(start) == keys.size:
        found[:] = np.arange(keys.shape[1])
        return found
    first = np.repeat(np.minimum.reduceat(order.ravel(), start), np.diff(start, append=keys.size))
    np.put_along_axis(found, order, first.reshape(keys.shape), axis=1)
    return found


def _first_equal_exactly(words: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.int64]:
    """``(token, words)`` to the smallest token with the same row, without hashes."""
    rows = np.ascontiguousarray(words).view(np.dtype((np.void, words.shape[1] * words.itemsize)))[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)
