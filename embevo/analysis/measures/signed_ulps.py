"""Which way do elements move on the lattice of representable numbers, and by how many of its points?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, of_group
from embevo.analysis.measures.lattice import places, signed_displacement
from embevo.analysis.measures.measure import Measure, Told, Variable, Whole


class SignedUlps(Measure):
    """Signed displacements of elements in ULPs: what becomes of them in each row, and in all."""

    section = "Lattice"
    variables = (
        Variable(
            "ulp_signed_mean",
            ("step", "group"),
            "mean signed displacement of an element in ULPs",
            "ULP",
            "mean over tokens of G and elements of n(t) - n(t-1), n the number of a value on the lattice: an "
            "element that passes through zero counts for all the small numbers there",
            "each row and the one before",
        ),
        Variable(
            "ulp_moved_share",
            ("step", "group"),
            "share of elements that moved",
            "1",
            "share of the elements of the vectors of G whose number on the lattice changed",
            "each row and the one before",
            Told(change=False),
        ),
        Variable(
            "ulp_single_share",
            ("step", "group"),
            "share of the moved elements that moved by one ULP",
            "1",
            "of the elements that moved, the share that moved by exactly one ULP: near 1 the lattice decides "
            "where they go; NaN where none moved",
            "each row and the one before",
        ),
        Variable(
            "ulp_up_share",
            ("step", "group"),
            "share of the moved elements that moved up",
            "1",
            "of the elements that moved, the share that became larger; NaN where none moved",
            "each row and the one before",
        ),
        Variable(
            "net_ulp",
            ("token", "dim"),
            "signed displacement of each element in ULPs between first and last row",
            "ULP",
            "n(last) - n(first) of each element. `embevo.analysis.lattice_displacement.lattice_displacement("
            "run, steps)` gives the displacement of each element at any steps, `(steps, token, dim)`",
            "first and last row",
        ),
    )

    def take(self, block: Block) -> None:
        """What the elements of each row do."""
        moves = block.moves
        moved, single, up, signed = (
            np.where(block.lost, np.nan, of) for of in (moves.moved, moves.single, moves.up, moves.signed)
        )
        found = {name: self.by_group(len(signed)) for name in _NAMES}
        elements = self.outline.dim
        with np.errstate(invalid="ignore", divide="ignore"):
            for group, ids in enumerate(self.outline.groups.ids):
                if len(ids):
                    changed = of_group(moved, ids).sum(axis=1)
                    found["ulp_signed_mean"][:, group] = of_group(signed, ids).mean(axis=1) / elements
                    found["ulp_moved_share"][:, group] = changed / (len(ids) * elements)
                    found["ulp_single_share"][:, group] = of_group(single, ids).sum(axis=1) / changed
                    found["ulp_up_share"][:, group] = of_group(up, ids).sum(axis=1) / changed
        if block.before is None:
            for of in found.values():
                of[0] = np.nan
        self.keep(**found)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows', and the displacements from the first row to the last."""
        dtype = self.outline.dtype
        net = signed_displacement(places(whole.last, dtype), places(whole.first, dtype))
        net[np.isnan(whole.last) | np.isnan(whole.first)] = np.nan
        return {**super().finish(whole), "net_ulp": net}


_NAMES = ("ulp_signed_mean", "ulp_moved_share", "ulp_single_share", "ulp_up_share")
