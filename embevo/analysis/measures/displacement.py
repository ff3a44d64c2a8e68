"""How far tokens move: from row to row, and in all."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Variable, Whole

_LENGTH = "embedding units"


class Displacement(Measure):
    """Lengths of the tokens' displacements."""

    section = "Motion"
    variables = (
        Variable(
            "displacement",
            ("step", "token"),
            "distance from the row before",
            _LENGTH,
            r"\|v\|, v(t, i) = x(t, i) - x(t-1, i)",
            "each row and the one before",
        ),
        Variable(
            "net_displacement",
            ("token",),
            "distance between first and last row",
            _LENGTH,
            r"\|x(last) - x(first)\|",
            "first and last row",
        ),
    )

    def take(self, block: Block) -> None:
        """The displacements of each row."""
        moved = block.distances
        if block.before is None:
            moved = moved.copy()
            moved[0] = np.nan
        self.keep(displacement=moved)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' displacements, and those from the first row to the last."""
        with np.errstate(invalid="ignore", over="ignore"):
            moved = whole.last.astype(np.float64) - whole.first.astype(np.float64)
        return {**super().finish(whole), "net_displacement": norms(moved)}
