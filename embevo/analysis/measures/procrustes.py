"""How far is each row from the last, if it may be rotated? The Procrustes distance."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.compared import with_last
from embevo.analysis.measures.measure import Measure, Variable, Whole
from embevo.analysis.measures.similarity import procrustes


class Procrustes(Measure):
    """The orthogonal Procrustes distance from the last row."""

    section = "Similarity"
    variables = (
        Variable(
            "procrustes_last",
            ("measured_step", "group"),
            "Procrustes distance to the last row",
            "1",
            r"min over orthogonal R of \|X R - Y\|, X and Y the vectors of G in this row and in the last, "
            "less their mean and scaled to a Frobenius norm of 1: from 0 to sqrt(2) (Schönemann, "
            "Psychometrika 31, 1, 1966; Ding, Denain and Steinhardt, NeurIPS 2021). "
            "`embevo.analysis.measures.similarity.procrustes` compares two runs",
            "each row",
        ),
    )

    def take(self, block: Block) -> None:
        """The rows that are compared are kept by others."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The distances of all measured rows."""
        return {**super().finish(whole), "procrustes_last": with_last(self, procrustes)}
