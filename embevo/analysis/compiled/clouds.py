"""Means of the points of each atom of groups, and the squared distances from them, row by row.

Sums may be taken in any order, so differences that are taken one after the other are kept in memory between:
taken at once they would lose digits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import compiled


@compiled
def measure_means(
    values: NDArray[Any],
    less: int,
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    found: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """What there is to know of points before their means are known.

    Args:
        values: ``(1 + step, token, dim)``, first the row before the others.
        less: 1 where points are the displacements from the row before, 0 where they are the values.
        order: of the tokens, in which atoms are contiguous.
        starts: ``(atom + 1,)`` places at which they begin in it, and their end.
        found: gets ``(step, token)`` norms of the points; ``(step, atom, dim)`` the first point of each atom,
            the sums of its points less that, and, of displacements, those of its points over their norms.
    """
    lengths, first, sums, units = found
    rows, _, dim = values.shape
    point = np.empty(dim)
    for row in range(rows - 1):
        for atom in range(len(starts) - 1):
            for place in range(starts[atom], starts[atom + 1]):
                token = order[place]
                square = 0.0
                for element in range(dim):
                    now = np.float64(values[row + 1, token, element])
                    if less:
                        now -= np.float64(values[row, token, element])
                    point[element] = now
                    square += now * now
                if place == starts[atom]:
                    first[row, atom] = point
                for element in range(dim):
                    sums[row, atom, element] += point[element] - first[row, atom, element]
                length = np.sqrt(square)
                lengths[row, token] = length
                if less and length != 0:
                    for element in range(dim):
                        units[row, atom, element] += point[element] / length


@compiled
def measure_squares(
    values: NDArray[Any],
    less: int,
    atoms: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]],
    known: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    found: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Squared distances of points from the means of their atoms, and their products with other differences.

    Args:
        values: ``(1 + step, token, dim)``, first the row before the others.
        less: 1 where points are the displacements from the row before, 0 where they are the values.
        atoms: an order of the tokens in which they are contiguous; ``(atom + 1,)`` the places at which they
            begin in it, and their end; ``(group, atom)`` whether a product is wanted.
        known: ``(step, atom, dim)`` the first point of each atom, and the mean of its points less that;
            ``(group, step, atom, dim)`` the other factors.
        found: ``(step, token)`` get the squares, and ``(group, step, token)`` the products, in that order.
    """
    order, starts, shared = atoms
    first, means, away = known
    squares, products = found
    rows, _, dim = values.shape
    point = np.empty(dim)
    for row in range(rows - 1):
        for atom in range(len(starts) - 1):
            for place in range(starts[atom], starts[atom + 1]):
                token = order[place]
                for element in range(dim):
                    now = np.float64(values[row + 1, token, element])
                    if less:
                        now -= np.float64(values[row, token, element])
                    point[element] = now
                for element in range(dim):
                    point[element] -= first[row, atom, element]
                square = 0.0
                for element in range(dim):
                    now = point[element] - means[row, atom, element]
                    point[element] = now
                    square += now * now
                squares[row, place] = square
                for group in range(len(shared)):
                    if shared[group, atom]:
                        product = 0.0
                        for element in range(dim):
                            product += point[element] * away[group, row, atom, element]
                        products[group, row, place] = product
