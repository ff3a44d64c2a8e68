"""On how many dimensions the tokens of a group lie: TwoNN, from each token's two nearest neighbours."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Variable
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.pairs import distinct, nearest_distances

_LEFT_OUT: Final = 0.1
_FEWEST: Final = 10


class TwoNN(Measure):
    """The intrinsic dimension of a cloud."""

    section = "Shape"
    variables = (
        Variable(
            "twonn",
            ("measured_step", "group"),
            "intrinsic dimension (TwoNN)",
            "1",
            "slope through the origin of -ln(1 - F) against ln(r2 / r1), r1 and r2 the distances of a token "
            "of G from its two nearest, F the share of tokens with no larger ratio, without the tenth with "
            "the largest (Facco, d'Errico, Rodriguez and Laio, Sci. Rep. 7, 12140, 2017). Tokens at one "
            "point count as one; NaN for fewer than ten points. Above 1,000 tokens of every k-th one",
            "each row",
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """There are enough tokens."""
        return outline.tokens >= _FEWEST

    def take(self, block: Block) -> None:
        """The dimension in each measured row."""
        ids = self.outline.sample.ids
        self.keep(
            twonn=self.at_measured(
                block, lambda place, group: twonn(block.points[place][ids[group]]), self.outline.sample
            )
        )


def twonn(points: NDArray[np.float64]) -> float:
    """The dimension of ``(token, dim)`` points; NaN for fewer than ten, or where one is not finite."""
    if not np.isfinite(points).all():
        return float("nan")
    different, _ = distinct(points)
    count = len(different)
    if count < _FEWEST:
        return float("nan")
    near = nearest_distances(different, 2)
    kept = int(count * (1 - _LEFT_OUT))
    x = np.log(np.sort(near[:, 1] / near[:, 0])[:kept])
    y = -np.log1p(-np.arange(1, kept + 1) / count)
    squares = float(x @ x)
    return float(x @ y) / squares if squares > 0 else float("nan")
