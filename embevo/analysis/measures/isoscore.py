"""How evenly the vectors of a group fill the space that they are in: IsoScore."""

import math

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Variable
from embevo.analysis.measures.outline import Outline


class IsoScore(Measure):
    """IsoScore of the variances along principal components."""

    section = "Shape"
    variables = (
        Variable(
            "isoscore",
            ("measured_step", "group"),
            "isotropy (IsoScore)",
            "1",
            "((n - d² (n - sqrt n))² - n) / (n (n - 1)), n = dim and d = \\|sqrt(n) l / \\|l\\| - 1\\| / "
            "sqrt(2 (n - sqrt n)), l the variances of G along its principal components: 0 on a line, 1 where "
            "all directions are as wide (Rudman, Gillman, Rayne and Eickhoff, Findings of ACL 2022, "
            "algorithm 1, and the authors' code)",
            "each row",
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """There are several directions."""
        return outline.dim > 1

    def take(self, block: Block) -> None:
        """The score of each measured row."""
        dim = self.outline.dim
        self.keep(
            isoscore=self.at_measured(
                block, lambda place, group: isoscore(block.spectra(place, group).variance, dim)
            )
        )


def isoscore(variance: NDArray[np.float64], dim: int) -> float:
    """The score of a cloud in ``dim`` > 1 dimensions with these variances; NaN where all are 0.

    Fewer variances than dimensions are those of fewer points: along the other directions there is none.
    """
    length = float(np.linalg.norm(variance))
    if not length > 0:
        return float("nan")
    even = np.zeros(dim)
    even[: len(variance)] = variance * (math.sqrt(dim) / length)
    room = dim - math.sqrt(dim)
    defect = float(((even - 1) ** 2).sum()) / (2 * room)
    return ((dim - defect * room) ** 2 - dim) / (dim * (dim - 1))
