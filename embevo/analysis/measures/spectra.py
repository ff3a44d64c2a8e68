"""How wide a cloud of points is in each direction: about the origin, and about its own centre."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Up to so many elements the points themselves are decomposed; of more, their squares, which takes a tenth of
# the time: singular values below 1e-8 of the largest are then lost in rounding, their squares below 1e-16.
_DECOMPOSED: Final = 1 << 15


@dataclass(frozen=True)
class Spectra:
    """Two spectra of ``(token, dim)`` points, widest first; NaN where a point is not finite.

    Attributes:
        singular: ``(min(token, dim),)`` singular values of the points as they are.
        variance: ``(min(token, dim),)`` eigenvalues of the covariance mean (x - c)(x - c)', c their mean;
            exactly 0 where all points are one.
    """

    singular: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.float64]) -> "Spectra":
        """The spectra of ``(token, dim)`` float64 points; of none they are empty."""
        count = min(points.shape)
        if not count:
            return cls(np.zeros(0), np.zeros(0))
        if not np.isfinite(points).all():
            return cls(np.full(count, np.nan), np.full(count, np.nan))
        apart = points - points[0]
        apart -= apart.mean(axis=0)
        return cls(np.sqrt(_squared(points)), _squared(apart) / len(points))


def _squared(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared singular values, descending."""
    if points.size <= _DECOMPOSED:
        return np.asarray(np.linalg.svd(points, compute_uv=False) ** 2, np.float64)
    tokens, dim = points.shape
    squares = points.T @ points if dim <= tokens else points @ points.T
    return np.asarray(np.maximum(np.linalg.eigvalsh(squares)[::-1], 0), np.float64)
