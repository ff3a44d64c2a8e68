"""How far elements move on the lattice of representable numbers, token by token."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import compiled


@compiled
def measure_moves(
    bits: NDArray[Any],
    before: NDArray[Any],
    limit: NDArray[np.int64],
    infinite: int,
    found: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    """As :meth:`embevo.analysis.measures.moves.Moves.of` does, of values of at most 32 bits.

    Args:
        bits: ``(step, token, dim)`` of the values, as signed numbers.
        before: ``(token, dim)`` those of the row before the first.
        limit: ``(step,)`` place from which on elements are pinned; -1 where that is not known.
        infinite: place of infinity; what comes beyond it is not a number.
        found: ``(3, step, token)`` gets sums of displacements in ULPs, their norms, and the largest.
            ``(6, step, token)`` gets how many elements moved, moved by one ULP, and moved up; the sum of
            their signed displacements; how many were pinned, and moved all the same. ``(token, dim)`` becomes
            false where an element is not pinned at a limit that is known.
    """
    sizes, counts, always = found
    rows, tokens, dim = bits.shape
    magnitude = (np.int64(1) << (8 * bits.itemsize - 1)) - 1
    for row in range(rows):
        known = limit[row] >= 0
        least = limit[row]
        for token in range(tokens):
            absolute, largest, squares = np.int64(0), np.int64(0), 0.0
            moved, single, up, signed = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            pinned, broken = np.int64(0), np.int64(0)
            for element in range(dim):
                now = np.int64(bits[row, token, element])
                was = np.int64(bits[row - 1, token, element] if row else before[token, element])
                now = now if now >= 0 else -(now & magnitude)
                was = was if was >= 0 else -(was & magnitude)
                apart = now - was
                size = abs(apart)
                absolute += size
                largest = max(largest, size)
                squares += np.float64(size) * np.float64(size)
                moved += apart != 0
                single += size == 1
                up += apart > 0
                signed += apart
                if known:
                    held = (abs(was) >= least) & (abs(was) <= infinite)
                    pinned += held
                    broken += held & (apart != 0)
                    always[token, element] &= held
            sizes[0, row, token] = absolute
            sizes[1, row, token] = np.sqrt(squares)
            sizes[2, row, token] = largest
            counts[0, row, token] = moved
            counts[1, row, token] = single
            counts[2, row, token] = up
            counts[3, row, token] = signed
            counts[4, row, token] = pinned
            counts[5, row, token] = broken
