"""From rows of a matrix to the three numbers of each token that a view shows."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

# Newton's method doubles the digits in each round; near the poles it is slower, and so many are enough there.
_ROUNDS: Final = 60
_CLOSE: Final = 1e-12
_PART_ELEMENTS: Final = 1 << 18


@dataclass(frozen=True)
class Projection:
    """An affine map, and perhaps the map of a sky after it.

    Attributes:
        mean: ``(dim,)`` float64, taken off first.
        basis: ``(3, dim)`` float64 directions; a row of zeros where there is no such component.
        sky: None for places; else whether directions are those from the ``origin`` or from the ``centroid``.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    sky: str | None = None

    @property
    def is_finite(self) -> bool:
        """Whether it gives places."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.basis).all())

    def pack(self) -> dict[str, Any]:
        """All of a finite one, for JSON, exactly."""
        return {"mean": self.mean.tolist(), "basis": self.basis.tolist(), "sky": self.sky}

    @classmethod
    def parse(cls, packed: dict[str, Any]) -> Self:
        """The inverse of :meth:`pack`."""
        return cls(np.array(packed["mean"]), np.array(packed["basis"]), packed["sky"])

    def of(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """``(step, token, 3)`` float32 of ``(step, token, dim)`` values; NaN where a vector is not finite.

        The products are float64. Of a sky the third number is 0, and the others are those of
        :func:`mollweide`.
        """
        found = np.empty((*values.shape[:2], 3), np.float32)
        size = max(1, _PART_ELEMENTS // max(1, values.shape[2]))
        for place, row in zip(found, values, strict=True):
            centre = self._centre(row)
            # In parts that stay in the cache: memory for all of a large row takes longer than its products.
            for start in range(0, len(row), size):
                points = row[start : start + size].astype(np.float64)
                with np.errstate(invalid="ignore", over="ignore"):
                    points -= centre
                    along = points @ self.basis.T
                if self.sky is None:
                    place[start : start + size] = along
                else:
                    place[start : start + size, :2] = mollweide(along)
                    place[start : start + size, 2] = 0
        return found

    def _centre(self, row: NDArray[np.generic]) -> NDArray[np.float64] | float:
        """What is taken off the vectors of one row."""
        if self.sky is None:
            return self.mean
        if self.sky == "origin":
            return 0.0
        finite = finite_points(row.astype(np.float64))
        return np.asarray(finite.mean(axis=0)) if len(finite) else np.nan


def finite_points(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those of ``(token, dim)`` vectors of which all numbers are finite."""
    finite = np.isfinite(points).all(axis=1)
    return points if finite.all() else points[finite]


def mollweide(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The directions of vectors on a map that keeps areas.

    With the longitude l = atan2(y, x) and the latitude b = asin(z / r), and t the solution of 2 t + sin 2t =
    pi sin b, it is x = (2 sqrt 2 / pi) l cos t and y = sqrt 2 sin t (J. P. Snyder, Map Projections: A Working
    Manual, U.S. Geological Survey Professional Paper 1395, 1987, p. 251).

    Args:
        vectors: ``(token, 3)``.

    Returns:
        ``(token, 2)``, in an ellipse of the half axes 2 sqrt 2 and sqrt 2; NaN for vectors of no length.
    """
    length = np.linalg.norm(vectors, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sine = np.clip(vectors[:, 2] / length, -1, 1)
    longitude = np.arctan2(vectors[:, 1], vectors[:, 0])
    target = np.pi * sine
    # Twice the auxiliary angle; it starts where it ends for the equator and the poles.
    double = 2 * np.arcsin(np.clip(2 * np.arcsin(sine) / np.pi, -1, 1))
    for _ in range(_ROUNDS):
        slope = 1 + np.cos(double)
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.where(slope > _CLOSE, (double + np.sin(double) - target) / slope, 0.0)
        double = np.clip(double - change, -np.pi, np.pi)
        if np.nanmax(np.abs(change), initial=0.0) < _CLOSE:
            break
    angle = double / 2
    found = np.stack([2 * np.sqrt(2) / np.pi * longitude * np.cos(angle), np.sqrt(2) * np.sin(angle)], axis=1)
    found[~(length > 0)] = np.nan
    return found
