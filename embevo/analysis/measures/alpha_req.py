"""How fast the widths of a cloud fall off: the exponent of a power law, alpha-ReQ."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Variable
from embevo.analysis.measures.outline import Outline

# The authors' code fits ranks 4 to 50, in some places to 100: the first few are left out.
_RANKS: Final = slice(3, 50)
_FEWEST: Final = 8
# Below this share of the largest, an eigenvalue is what rounding has left.
_ROUNDING: Final = 1e-13


class AlphaReq(Measure):
    """The decay of the eigenvalues of the covariance with their rank."""

    section = "Shape"
    variables = (
        Variable(
            "alpha_req",
            ("measured_step", "group"),
            "decay of the eigenspectrum (alpha-ReQ)",
            "1",
            "a of l(r) = b r^-a, fitted to the logarithms of the eigenvalues l of the covariance of G at "
            "ranks r = 4 to 50, with weights 1 / r; NaN where fewer than eight of these are there and not 0 "
            "(Agrawal, Mondal, Ghosh and Richards, NeurIPS 2022; ranks and weights are those of the authors' "
            "code, after Stringer et al., Nature 571, 361, 2019)",
            "each row",
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """There are enough eigenvalues to fit."""
        return min(outline.tokens, outline.dim) >= _RANKS.start + _FEWEST

    def take(self, block: Block) -> None:
        """The exponent of each measured row."""
        self.keep(
            alpha_req=self.at_measured(
                block, lambda place, group: alpha_req(block.spectra(place, group).variance)
            )
        )


def alpha_req(variance: NDArray[np.float64]) -> float:
    """The exponent of a spectrum, widest first; NaN where too few eigenvalues can be fitted."""
    known = variance[variance > _ROUNDING * variance.max(initial=0)][_RANKS]
    if len(known) < _FEWEST:
        return float("nan")
    rank = np.arange(_RANKS.start + 1, _RANKS.start + 1 + len(known))
    x, y, weight = np.log(rank), np.log(known), 1 / rank
    x -= np.average(x, weights=weight)
    return float(-(weight * x * y).sum() / (weight * x * x).sum())
