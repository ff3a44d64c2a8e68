"""Principal components: the directions in which a cloud is widest, and how wide it is there."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.geometry import Cloud

MOST: Final = 64
# Up to so many elements a singular value decomposition of the cloud itself takes less than a second.
DECOMPOSED: Final = 1 << 22


@dataclass(frozen=True)
class Components:
    """The widest directions of a cloud, at most :data:`MOST`; NaN if a point of it is not finite.

    Attributes:
        mean: ``(dim,)`` centroid.
        basis: ``(component, dim)`` orthonormal, widest first. The largest element of each is positive.
        variance: ``(component,)`` mean squared distance from the centroid along each; over all components
            they add up to the square of the RMS radius.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.float64]) -> "Components":
        """The components of ``(token, dim)`` points.

        They come from a singular value decomposition of the points, or of the covariance if there are many.
        """
        count = count_of(*points.shape)
        mean = Cloud.of(points[None]).centre[0]
        if not np.isfinite(points).all():
            return cls.nowhere(*points.shape)
        apart = points - mean
        if points.size > DECOMPOSED:
            return cls.of_covariance(mean, apart.T @ apart / len(points), count)
        _, singular, basis = np.linalg.svd(apart, full_matrices=False)
        return cls(mean, _oriented(basis[:count]), singular[:count] ** 2 / len(points))

    @classmethod
    def of_covariance(
        cls, mean: NDArray[np.float64], covariance: NDArray[np.float64], count: int
    ) -> "Components":
        """The components of a cloud with a ``(dim, dim)`` covariance about ``mean``."""
        values, vectors = np.linalg.eigh(covariance)
        order = slice(None, None, -1)
        return cls(mean, _oriented(vectors.T[order][:count]), np.maximum(values[order][:count], 0))

    @classmethod
    def nowhere(cls, tokens: int, dim: int) -> "Components":
        """The components of a cloud with a point that is not finite: all NaN."""
        count = count_of(tokens, dim)
        return cls(np.full(dim, np.nan), np.full((count, dim), np.nan), np.full(count, np.nan))


def count_of(tokens: int, dim: int) -> int:
    """How many components are kept of a cloud."""
    return min(tokens, dim, MOST)


def _oriented(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """A direction has no sign: its largest element is made positive, so that a figure does not flip."""
    largest = np.abs(basis).argmax(axis=1)
    sign = np.where(np.take_along_axis(basis, largest[:, None], axis=1) < 0, -1.0, 1.0)
    return np.asarray(basis * sign, np.float64)
