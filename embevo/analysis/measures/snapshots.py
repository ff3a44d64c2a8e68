"""Rows that stand for the run, kept until its last row is known, which some measures compare them with."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.outline import Outline


class Snapshots:
    """The measured rows of a stretch, of those tokens that are kept."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._rows: list[NDArray[Any]] = []

    def take(self, block: Block) -> None:
        """Keep those rows of a block that are measured."""
        kept = self._outline.kept.together
        self._rows.extend(block.values[place][kept] for place in block.measured)

    def merge(self, later: Self) -> None:
        """Take over those of the stretch that comes right after."""
        self._rows.extend(later._rows)

    def finish(self) -> NDArray[Any]:
        """``(measured_step, token, dim)`` of the kept tokens, as they were recorded."""
        return np.stack(self._rows)
