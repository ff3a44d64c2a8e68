"""The directions that figures and films project on: principal components of the last row, or of all rows."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.components import Components, count_of
from embevo.analysis.measures.measure import Measure, Variable, Whole
from embevo.analysis.measures.outline import Outline

_LENGTH = "embedding units"


class PrincipalComponents(Measure):
    """Of the last row, or of all rows taken together.

    For all rows their second moments about the mean are summed block by block, and joined by the formula of
    Chan, Golub and LeVeque (Am. Stat. 37, 242, 1983), which loses nothing where the cloud is far from the
    origin.
    """

    section = "Geometry"
    variables = (
        Variable(
            "component", ("component",), "principal component, widest first", "1", "0, 1, 2, ...", "the run"
        ),
        Variable(
            "pca_mean",
            ("dim",),
            "centroid of what the components were fitted on",
            _LENGTH,
            'mean of x over the tokens of the last row (`basis="final"`), or of all rows together (`"all"`)',
            "last row or all rows",
        ),
        Variable(
            "pca_basis",
            ("component", "dim"),
            "principal components",
            "1",
            "eigenvectors of mean (x - `pca_mean`)(x - `pca_mean`)', over the tokens that `pca_mean` is of; "
            "the largest element of each is positive",
            "last row or all rows",
        ),
        Variable(
            "pca_variance",
            ("component",),
            "variance along each component",
            "embedding units^2",
            "variances along `pca_basis`: the eigenvalues that belong to them",
            "last row or all rows",
        ),
        Variable(
            "centroid_projected",
            ("step", "group", "component"),
            "centroid along the components",
            _LENGTH,
            "(c - `pca_mean`) . `pca_basis`",
            "each row",
        ),
    )

    def __init__(self, outline: Outline, start: int = 0) -> None:
        super().__init__(outline, start)
        self._count = 0
        self._mean = np.zeros(self.outline.dim)
        self._moment = np.zeros((self.outline.dim, self.outline.dim))

    def take(self, block: Block) -> None:
        """Sum what all rows together need; for the last row alone nothing is."""
        if self.outline.basis == "all":
            points = block.points.reshape(-1, self.outline.dim)
            with np.errstate(invalid="ignore", over="ignore"):
                mean = points.mean(axis=0)
                apart = points - mean
                self._join(len(points), mean, apart.T @ apart)

    def merge(self, later: Self) -> None:
        """Join the sums."""
        super().merge(later)
        self._join(later._count, later._mean, later._moment)

    def _join(self, count: int, mean: NDArray[np.float64], moment: NDArray[np.float64]) -> None:
        if count:
            together = self._count + count
            between = mean - self._mean
            self._mean = self._mean + between * (count / together)
            self._moment = self._moment + moment
            self._moment += np.outer(between, between) * (self._count * (count / together))
            self._count = together

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The components, and the centroids' way along them."""
        found = self._components(whole)
        return {
            **super().finish(whole),
            "component": np.arange(len(found.variance)),
            "pca_mean": found.mean,
            "pca_basis": found.basis,
            "pca_variance": found.variance,
            "centroid_projected": (whole.arrays["centroid"] - found.mean) @ found.basis.T,
        }

    def _components(self, whole: Whole) -> Components:
        if self.outline.basis == "final":
            return Components.of(whole.last.astype(np.float64))
        shape = (self.outline.tokens, self.outline.dim)
        if not np.isfinite(self._moment).all():
            return Components.nowhere(*shape)
        mean = whole.arrays["centroid"][:, 0].mean(axis=0)
        return Components.of_covariance(mean, self._moment / self._count, count_of(*shape))
