"""Which rows of a matrix are the same, bit for bit, found by hashing and then made sure of."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Hashed so many words at a time: what is in between stays in the cache.
_CHUNK_WORDS: Final = 1 << 18
# Words that are hashed at once: what the cache of a core holds.
_HASHED_WORDS: Final = 1 << 15
_SEED: Final = 0x5EED


def words_of(values: NDArray[np.floating]) -> NDArray[np.uint32]:
    """The bits of float32 or float64 values ``(..., dim)``, as ``(..., words)`` of 32 bits."""
    return np.ascontiguousarray(values).view(np.uint32)


def without_negative_zeros(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same values with +0 for every -0, so that equal rows have equal bits; itself without any."""
    integers = np.ascontiguousarray(values).view(f"i{values.dtype.itemsize}")
    negative = integers == np.iinfo(integers.dtype).min
    if not negative.any():
        return values
    return np.where(negative, values.dtype.type(0), values)


def row_hashes(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
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


def representatives(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """For each row the smallest token id whose row has the same bits.

    Args:
        values: ``(step, token, dim)`` float32 or float64.

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
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, axis=1)
    place = np.broadcast_to(np.arange(keys.shape[1]), keys.shape)
    starts = np.ones(keys.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    found = np.empty(keys.shape, np.int64)
    np.put_along_axis(found, order, np.take_along_axis(order, first, axis=1), axis=1)
    return found


def _first_equal_exactly(words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """``(token, words)`` to the smallest token with the same row, without hashes."""
    rows = np.ascontiguousarray(words).view(np.dtype((np.void, words.shape[1] * 4)))[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)
