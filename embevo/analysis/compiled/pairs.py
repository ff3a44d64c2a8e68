"""Sums over pairs of rows that are some rows apart, token by token: all rows of one stay in the cache."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import compiled


@compiled
def add_pairs(
    rows: tuple[NDArray[Any], NDArray[Any]],
    starts: NDArray[np.int64],
    first: int,
    lags: NDArray[np.int64],
    sums: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Add what each atom's tokens make of x(t+l) - x(t) and of their velocities v.

    Args:
        rows: ``(row, token, dim)`` places, and those one row before.
        starts: ``(atom + 1,)`` places at which atoms begin along ``token``, and their end.
        first: the first row that is the later one of pairs.
        lags: ``(lag,)`` in rows.
        sums: ``(atom, late, lag)`` get |x(t+l) - x(t)|^2 and v(t+l) . v(t), where there is such a row, and
            ``(atom, row)`` gets |v(t)|^2.
    """
    position, before = rows
    squares, products, speeds = sums
    count, _, dim = position.shape
    place = np.empty((count, dim))
    velocity = np.empty((count, dim))
    for atom in range(len(starts) - 1):
        for token in range(starts[atom], starts[atom + 1]):
            for row in range(count):
                speed = 0.0
                for element in range(dim):
                    now = np.float64(position[row, token, element])
                    apart = now - np.float64(before[row, token, element])
                    place[row, element] = now
                    velocity[row, element] = apart
                    speed += apart * apart
                speeds[atom, row] += speed
            for late in range(first, count):
                for number in range(len(lags)):
                    early = late - lags[number]
                    if early >= 0:
                        square = 0.0
                        product = 0.0
                        for element in range(dim):
                            moved = place[late, element] - place[early, element]
                            square += moved * moved
                            product += velocity[late, element] * velocity[early, element]
                        squares[atom, late - first, number] += square
                        products[atom, late - first, number] += product
