"""When did the cloud take its final form? Linear CKA of each row and the last."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.compared import with_last
from embevo.analysis.measures.measure import Measure, Told, Variable, Whole
from embevo.analysis.measures.similarity import linear_cka


class Cka(Measure):
    """Linear centred kernel alignment with the last row."""

    section = "Similarity"
    variables = (
        Variable(
            "cka_last",
            ("measured_step", "group"),
            "similarity to the last row (linear CKA)",
            "1",
            r"\|Y'X\|² / (\|X'X\| \|Y'Y\|), X and Y the vectors of G less their mean in this row and in the "
            "last: 1 where one is the other, rotated, scaled and shifted (Kornblith, Norouzi, Lee and "
            "Hinton, ICML 2019). `embevo.analysis.measures.similarity.linear_cka` compares two runs",
            "each row",
            Told(),
        ),
    )

    def take(self, block: Block) -> None:
        """The rows that are compared are kept by others."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The similarities of all measured rows."""
        return {**super().finish(whole), "cka_last": with_last(self, linear_cka)}
