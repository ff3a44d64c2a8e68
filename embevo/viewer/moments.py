"""Mean and covariance of many vectors, gathered in pieces that stay in the cache of a processor."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.components import Components, count_of
from embevo.viewer.projecting import finite_points

# Of float64. With smaller pieces the product of a piece with itself takes longer, with larger ones all else.
_PIECE_ELEMENTS: Final = 1 << 20


class Moments:
    """Of vectors of ``dim`` numbers; those that are not finite have no part in them.

    Attributes:
        unlike: how many were not finite.
    """

    def __init__(self, dim: int) -> None:
        """Of no vector yet."""
        self._total, self._moment = np.zeros(dim), np.zeros((dim, dim))
        # About a point of the cloud, so that nothing is lost where it is far from the origin.
        self._about: NDArray[np.float64] | None = None
        self._count = 0
        self.unlike = 0

    def add(self, vectors: NDArray[np.generic]) -> None:
        """Take in ``(vector, dim)`` more; sums and products are float64."""
        size = max(1, _PIECE_ELEMENTS // vectors.shape[1])
        for start in range(0, len(vectors), size):
            points = vectors[start : start + size].astype(np.float64)
            looked_at = len(points)
            # A sum that is finite has finite parts alone.
            with np.errstate(invalid="ignore", over="ignore"):
                is_finite = np.isfinite(points.sum())
            if not is_finite:
                points = finite_points(points)
                self.unlike += looked_at - len(points)
            if not len(points):
                continue
            if self._about is None:
                self._about = points.mean(axis=0)
            points -= self._about
            self._count += len(points)
            self._total += points.sum(axis=0)
            self._moment += points.T @ points

    def components(self, tokens: int) -> Components:
        """Of all vectors together; NaN, as of a cloud of so many tokens, where there is no finite one."""
        dim = len(self._total)
        if self._about is None:
            return Components.nowhere(tokens, dim)
        mean = self._total / self._count
        covariance = self._moment / self._count - np.outer(mean, mean)
        if not np.isfinite(covariance).all():
            return Components.nowhere(tokens, dim)
        return Components.of_covariance(self._about + mean, covariance, count_of(self._count, dim))
