"""How many directions carry the variance of a group: the participation ratio."""

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Told, Variable


class Participation(Measure):
    """The participation ratio of the variances along principal components."""

    section = "Shape"
    variables = (
        Variable(
            "participation",
            ("measured_step", "group"),
            "participation ratio",
            "1",
            "(sum l)² / sum l² over the eigenvalues l of the covariance of G: 1 for points on a line, dim "
            "for a round cloud (Gao et al., bioRxiv 214262, 2017; Recanatesi et al., Patterns 3, 100555, "
            "2022)",
            "each row",
            Told(),
        ),
    )

    def take(self, block: Block) -> None:
        """The ratio of each measured row."""
        self.keep(
            participation=self.at_measured(
                block, lambda place, group: participation(block.spectra(place, group).variance)
            )
        )


def participation(variance: NDArray[np.float64]) -> float:
    """The participation ratio of these variances; NaN where all are 0."""
    squares = float((variance**2).sum())
    return float(variance.sum() ** 2 / squares) if squares > 0 else float("nan")
