"""Which elements can move at all, at the learning rate of a step and in the recorded dtype."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, of_group
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole
from embevo.analysis.measures.outline import Outline


class Pinned(Measure):
    """Elements whose half ULP is more than the learning rate."""

    section = "Lattice"
    variables = (
        Variable(
            "pinned",
            ("step", "group"),
            "share of elements that are pinned",
            "1",
            "share of the elements of G whose half ULP, in the row before, is more than the learning rate of "
            "this step",
            "each row and the one before",
        ),
        Variable(
            "pinned_token",
            ("token",),
            "elements that were pinned at every step",
            "1",
            "number of elements of the token that were pinned at every step that has a learning rate",
            "each row and the one before",
        ),
        Variable(
            "pinned_moved",
            ("step",),
            "pinned elements that moved all the same",
            "1",
            "number of elements that changed though pinned: by a larger update than the learning rate",
            "each row and the one before",
        ),
    )
    numbers = (Number("pinned_share", "share of elements that were pinned at every step", "1"),)

    def __init__(self, outline: Outline, start: int = 0) -> None:
        super().__init__(outline, start)
        self._always = np.ones((outline.tokens, outline.dim), np.bool_)
        # Whether any step had a learning rate.
        self._known = False

    def take(self, block: Block) -> None:
        """Compare each row with the magnitudes that are pinned."""
        outline = self.outline
        rows = len(block.recorded)
        known = np.isfinite(block.limit)
        share = self.by_group(rows)
        moved = np.full(rows, np.nan)
        if known.any():
            moves = block.moves
            self._known = True
            self._always &= moves.always
            tokens = moves.pinned / outline.dim
            for group, ids in enumerate(outline.groups.ids):
                if len(ids):
                    share[known, group] = of_group(tokens, ids)[known].mean(axis=1)
            moved[known] = moves.broken.sum(axis=1)[known]
        self.keep(pinned=share, pinned_moved=moved)

    def merge(self, later: Self) -> None:
        """Always is in both stretches."""
        super().merge(later)
        self._always &= later._always
        self._known |= later._known

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' shares, and what never could move."""
        always = self._always.sum(axis=1).astype(np.float64)
        return {**super().finish(whole), "pinned_token": always if self._known else always * np.nan}

    def tell(self) -> Mapping[str, Any]:
        """The share of each group's elements that never could move."""
        each = self.whole.arrays["pinned_token"] / self.outline.dim
        groups = zip(self.outline.groups.names, self.outline.groups.ids, strict=True)
        return {
            "pinned_share": {name: float(each[ids].mean()) if len(ids) else np.nan for name, ids in groups}
        }
