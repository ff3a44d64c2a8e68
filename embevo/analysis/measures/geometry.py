"""Centres and sizes of clouds of points, in float64."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Elements that are gone over several times before the next ones are: they stay in the cache of a core.
_PIECE: Final = 1 << 15


@dataclass(frozen=True)
class Cloud:
    """Clouds of points at several steps.

    Attributes:
        centre: ``(step, dim)`` float64 mean of the points: the centroid.
        squares: ``(step, token)`` float64 squared Euclidean distance of each point from it.
    """

    centre: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.float64], ids: NDArray[np.int64] | None = None) -> "Cloud":
        """Measure ``(step, token, dim)`` float64 points. A NaN or infinity makes its step's numbers NaN.

        Of these all tokens are measured, or those with some ``ids``, ascending. The mean is taken of the
        differences from the first point, and the distances from the mean in a second
        pass: points that all coincide have their centroid exactly there, and the radius exactly 0.
        """
        if ids is not None and len(ids) == points.shape[1]:
            ids = None
        rows, tokens, dim = points.shape
        tokens = tokens if ids is None else len(ids)
        if not tokens:
            # One point that is nowhere: every statistic of nobody is NaN.
            return cls(np.full(points.shape[::2], np.nan), np.full((len(points), 1), np.nan))
        centre, squares = np.empty((rows, dim)), np.empty((rows, tokens))
        at_once = max(1, _PIECE // (tokens * dim))
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, rows, at_once):
                piece = slice(start, start + at_once)
                some = points[piece] if ids is None else np.take(points[piece], ids, axis=1)
                centre[piece] = _measure(some, squares[piece])
        return cls(centre, squares)

    @property
    def radius_rms(self) -> NDArray[np.float64]:
        """``(step,)`` sqrt(mean |x - c|^2): the radius of gyration."""
        return np.asarray(np.sqrt(self.squares.mean(axis=1)), np.float64)

    @property
    def radius_max(self) -> NDArray[np.float64]:
        """``(step,)`` max |x - c|."""
        return np.asarray(np.sqrt(self.squares.max(axis=1)), np.float64)


def _measure(points: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(step, dim)`` means of points; their squared distances from it go into ``squares``."""
    _, tokens, dim = points.shape
    first = points[:, :1]
    at_once = max(1, _PIECE // dim)
    if tokens <= at_once:
        apart = points - first
        mean = apart.mean(axis=1)
        apart -= mean[:, None]
        np.einsum("std,std->st", apart, apart, out=squares)
        return np.asarray(first[:, 0] + mean, np.float64)
    pieces = [slice(start, start + at_once) for start in range(0, tokens, at_once)]
    mean = np.zeros_like(first)
    for piece in pieces:
        mean[:, 0] += (points[:, piece] - first).sum(axis=1)
    mean /= tokens
    for piece in pieces:
        apart = points[:, piece] - first
        apart -= mean
        np.einsum("std,std->st", apart, apart, out=squares[:, piece])
    return np.asarray((first + mean)[:, 0], np.float64)


def norms(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean norm along the last axis."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.sqrt(np.einsum("...d,...d->...", vectors, vectors)), np.float64)


def sum_of_units(vectors: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(step, dim)`` sum of vectors ``(step, token, dim)`` over their norms; those that are 0 have none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        over = 1 / np.where(lengths != 0, lengths, 1)
        return np.asarray(np.matmul(over[:, None], vectors)[:, 0], np.float64)
