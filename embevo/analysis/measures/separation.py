"""How far apart two clouds are, and how well that is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# 97.5 % point of the normal distribution.
_Z: float = 1.959963984540054


@dataclass(frozen=True)
class Separation:
    """Distance between the centroids of two clouds; NaN if one is empty or not finite.

    Attributes:
        distance: embedding units.
        error: its standard error, if the points of each cloud are taken for a sample: the square root of
            u' (S1 / n1 + S2 / n2) u, with u the direction between the centroids and S the covariances.
    """

    distance: float
    error: float

    @classmethod
    def of(cls, one: NDArray[np.float64], other: NDArray[np.float64]) -> "Separation":
        """Measure two clouds of ``(token, dim)`` points."""
        if not len(one) or not len(other) or not (np.isfinite(one).all() and np.isfinite(other).all()):
            return cls(np.nan, np.nan)
        between = one.mean(axis=0) - other.mean(axis=0)
        distance = float(np.sqrt(between @ between))
        if distance == 0 or len(one) < 2 or len(other) < 2:
            return cls(distance, np.nan)
        direction = between / distance
        variance = sum(float((cloud @ direction).var(ddof=1)) / len(cloud) for cloud in (one, other))
        return cls(distance, float(np.sqrt(variance)))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, by the normal approximation."""
        return (self.distance - _Z * self.error, self.distance + _Z * self.error)
