"""How many directions the vectors of a group use: RankMe, the effective rank."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Told, Variable

# That of the paper, for float32.
_EPSILON: Final = 1e-7


class RankMe(Measure):
    """The exponential of the entropy of the singular values."""

    section = "Shape"
    variables = (
        Variable(
            "rankme",
            ("measured_step", "group"),
            "effective rank (RankMe)",
            "1",
            "exp(-sum p ln p), p = s / sum s + 1e-7 over the singular values s of the vectors of G, which "
            "are not centred (Garrido, Balestriero, Najman and LeCun, ICML 2023, eq. 1 and 2; without the "
            "1e-7 it is the effective rank of Roy and Vetterli, EUSIPCO 2007)",
            "each row",
            Told(),
        ),
    )

    def take(self, block: Block) -> None:
        """The rank of each measured row."""
        self.keep(
            rankme=self.at_measured(block, lambda place, group: rankme(block.spectra(place, group).singular))
        )


def rankme(singular: NDArray[np.float64]) -> float:
    """The effective rank of vectors with these singular values; NaN where all are 0."""
    total = singular.sum()
    if not total > 0:
        return float("nan")
    share = singular / total + _EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))
