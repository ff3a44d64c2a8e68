"""Do vectors point the same way? The mean cosine between tokens, which is not a measure of isotropy."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Told, Variable

_WARNING: Final = (
    "It says where the centre of the cloud is and hardly anything of its form: it is near 1 for a round "
    "cloud that is far from the origin (Cai, Huang, Bian and Church, ICLR 2021; Rudman et al., Findings of "
    "ACL 2022)"
)


class MeanCosine(Measure):
    """The mean cosine of pairs of vectors, as they are and about their mean."""

    section = "Shape"
    variables = (
        Variable(
            "mean_cosine",
            ("measured_step", "group"),
            "mean cosine between tokens",
            "1",
            "mean of x(i) . x(j) / (\\|x(i)\\| \\|x(j)\\|) over pairs of different tokens of G whose vectors "
            f"are not 0 (Ethayarajh, EMNLP 2019). {_WARNING}",
            "each row",
            Told(),
        ),
        Variable(
            "mean_cosine_centred",
            ("measured_step", "group"),
            "mean cosine between tokens about their mean",
            "1",
            "`mean_cosine` of x - c, c the centroid of G (Mu and Viswanath, ICLR 2018)",
            "each row",
        ),
    )

    def take(self, block: Block) -> None:
        """The cosines of each measured row."""

        def about_origin(place: int, group: int) -> float:
            ids = self.outline.groups.ids[group]
            return mean_cosine(block.points[place][ids], block.lengths[place][ids])

        def about_mean(place: int, group: int) -> float:
            points = block.points[place][self.outline.groups.ids[group]]
            apart = points - points[0]
            apart -= apart.mean(axis=0)
            return mean_cosine(apart, norms(apart))

        self.keep(
            mean_cosine=self.at_measured(block, about_origin),
            mean_cosine_centred=self.at_measured(block, about_mean),
        )


def mean_cosine(points: NDArray[np.float64], lengths: NDArray[np.float64]) -> float:
    """The mean cosine of pairs of different points that are not 0; no pair is looked at.

    With unit vectors u of n points it is (|sum u|^2 - n) / (n (n - 1)).

    Args:
        points: ``(token, dim)``.
        lengths: ``(token,)`` their norms.

    Returns:
        From -1 / (n - 1) to 1; NaN for fewer than two points, or where one is not finite.
    """
    count = int((lengths != 0).sum())
    if count < 2:
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(lengths != 0, 1 / lengths, 0) @ points
        return float((total @ total - count) / (count * (count - 1)))
