"""Rows that stand for the run, kept until its last row is known, which some measures compare them with."""

from typing import Any, Self

from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.kept import Kept
from embevo.analysis.measures.outline import Outline


class Snapshots:
    """The measured rows of a stretch, of those tokens that are kept."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._rows = Kept()

    def take(self, block: Block) -> None:
        """Keep those rows of a block that are measured."""
        kept = self._outline.kept.together
        for place in block.measured:
            self._rows.append(block.values[place][kept][None])

    def merge(self, later: Self) -> None:
        """Take over those of the stretch that comes right after."""
        self._rows.take_over(later._rows, 0)

    def finish(self) -> NDArray[Any]:
        """``(measured_step, token, dim)`` of the kept tokens, as they were recorded."""
        return self._rows.taken()
