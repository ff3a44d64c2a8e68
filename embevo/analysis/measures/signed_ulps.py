"""Which way do elements move on the lattice of representable numbers, and by how many of its points?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, of_group
from embevo.analysis.measures.counting import count
from embevo.analysis.measures.lattice import places
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
        now, first = block.places, block.first_places
        rose = np.empty(now.shape, np.bool_)
        np.greater(now[0], first, out=rose[0])
        np.greater(now[1:], now[:-1], out=rose[1:])
        moved, single, up = (
            count(of).astype(np.float64) for of in (block.moved, np.asarray(block.ulps == 1), rose)
        )
        total = _total(now, first)
        if block.has_nan:
            lost = (np.isnan(block.points) | np.isnan(block.earlier)).any(axis=2)
            for of in (moved, single, up, total):
                of[lost] = np.nan
        found = {name: self.by_group(len(total)) for name in _NAMES}
        elements = self.outline.dim
        with np.errstate(invalid="ignore", divide="ignore"):
            for group, ids in enumerate(self.outline.groups.ids):
                if len(ids):
                    moves = of_group(moved, ids).sum(axis=1)
                    found["ulp_signed_mean"][:, group] = of_group(total, ids).mean(axis=1) / elements
                    found["ulp_moved_share"][:, group] = moves / (len(ids) * elements)
                    found["ulp_single_share"][:, group] = of_group(single, ids).sum(axis=1) / moves
                    found["ulp_up_share"][:, group] = of_group(up, ids).sum(axis=1) / moves
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


def _total(now: NDArray[np.integer], first: NDArray[np.integer]) -> NDArray[np.float64]:
    """``(step, token)`` sums of signed displacements over the elements, from row to row."""
    if now.dtype == np.int64:
        apart = np.concatenate([first[None], now[:-1]])
        return np.asarray(signed_displacement(now, apart).sum(axis=2), np.float64)
    # Sums of places of 32 bits are exact in 64, and there is nothing to keep of the elements.
    sums = np.concatenate([first[None].sum(axis=2, dtype=np.int64), now.sum(axis=2, dtype=np.int64)])
    return np.diff(sums, axis=0).astype(np.float64)


def signed_displacement(now: NDArray[np.integer], before: NDArray[np.integer]) -> NDArray[np.float64]:
    """Distance in ULPs from places on the lattice to later ones; exact below 2^53, and rounded above."""
    if now.dtype != np.int64:
        return np.asarray(np.subtract(now, before, dtype=np.float64), np.float64)
    # The distance of two numbers of 64 bits may not fit into one; modulo 2^64 that of the larger is right.
    larger = np.maximum(now, before).view(np.uint64)
    apart = (larger - np.minimum(now, before).view(np.uint64)).astype(np.float64)
    return np.asarray(np.where(now < before, -apart, apart), np.float64)
