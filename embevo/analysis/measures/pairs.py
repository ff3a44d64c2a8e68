"""Distances between all pairs of points, some points at a time, and each point's nearest."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.identity import representatives

# Elements of a matrix of distances that are in memory at once.
_AT_ONCE: Final = 1 << 23
# As many more than asked for are looked at exactly, of those that rounding may have put in a wrong order.
_SPARE: Final = 6


def distinct(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different ones among ``(token, dim)`` points, in the order of their first token, and which each is.

    +0 and -0 are the same number.
    """
    first, place = np.unique(representatives((points + 0.0)[None])[0], return_inverse=True)
    return points[first], place


def squared_distances(points: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Squared distances of some points from all points, until it was the turn of each.

    They are |x|^2 + |y|^2 - 2 x . y about the mean, never below 0, and exactly 0 from a point to itself.
    Rounding leaves an error of about 1e-16 of the largest squared distance.

    Args:
        points: ``(token, dim)``, finite and different.

    Yields:
        Which tokens, and their ``(some, token)`` squared distances from all.
    """
    apart = points - points.mean(axis=0)
    squares = np.einsum("td,td->t", apart, apart)
    at_once = max(1, _AT_ONCE // max(1, len(points)))
    for start in range(0, len(points), at_once):
        some = slice(start, min(start + at_once, len(points)))
        found = squares[some, None] + squares - 2 * (apart[some] @ apart.T)
        np.maximum(found, 0, out=found)
        found[np.arange(len(found)), np.arange(some.start, some.stop)] = 0
        yield some, found


def nearest_distances(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """``(token, count)`` distances from each of more than ``count`` different points to its nearest others.

    They are taken of the coordinates' differences: no digits are lost to where the cloud lies.
    """
    total = len(points)
    found = np.empty((total, count))
    looked = min(total - 1, count + _SPARE)
    for some, squares in squared_distances(points):
        squares[np.arange(len(squares)), np.arange(some.start, some.stop)] = np.inf
        near = np.argpartition(squares, looked - 1, axis=1)[:, :looked]
        exact = np.stack([norms(points[near[:, place]] - points[some]) for place in range(looked)], axis=1)
        found[some] = np.sort(exact, axis=1)[:, :count]
    return found


def nearest(points: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Which ``count`` others are nearest to each point; of those at one distance the first ones.

    Args:
        points: ``(token, dim)``, finite, more than ``count``; some may be the same.
        count: how many.

    Returns:
        ``(token, token)``: whether the second is one of the nearest of the first.
    """
    total = len(points)
    found = np.empty((total, total), bool)
    different, place = distinct(points)
    # All tokens at one point are at the same distance from any other, to the last bit.
    of_point: dict[int, list[int]] = {}
    for token, point in enumerate(place.tolist()):
        of_point.setdefault(point, []).append(token)
    for some, squares in squared_distances(different):
        for row, point in enumerate(range(some.start, some.stop)):
            apart = squares[row][place]
            for token in of_point[point]:
                found[token] = _first_nearest(apart, token, count)
    return found


def _first_nearest(apart: NDArray[np.float64], token: int, count: int) -> NDArray[np.bool_]:
    others = apart.copy()
    others[token] = np.inf
    limit = np.partition(others, count - 1)[count - 1]
    chosen = others < limit
    tied = np.flatnonzero(others == limit)
    chosen[tied[: count - int(chosen.sum())]] = True
    return np.asarray(chosen, bool)
