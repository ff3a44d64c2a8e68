"""How many rows differ, and the black holes: sets of tokens whose rows are the same in every bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, of_group
from embevo.analysis.measures.identity import representatives, without_negative_zeros
from embevo.analysis.measures.measure import Measure, Number, Told, Variable, Whole
from embevo.analysis.measures.singularities import Census, jaccard, membership


class BlackHoles(Measure):
    """Counts of different rows and of black holes."""

    section = "Singularities"
    variables = (
        Variable(
            "distinct_rows",
            ("step", "group"),
            "distinct rows",
            "tokens",
            "number of different rows, by their bits",
            "each row",
            Told(groups=("all", "dead")),
        ),
        Variable(
            "distinct_values",
            ("step", "group"),
            "distinct rows, +0 and -0 being equal",
            "tokens",
            "number of different rows with +0 and -0 taken for equal; NaNs are compared by their bits",
            "each row",
            Told(groups=()),
        ),
        Variable(
            "black_holes",
            ("step", "group"),
            "black holes",
            "black holes",
            "sets of two or more tokens of G with bit-identical rows",
            "each row",
            Told(),
        ),
        Variable(
            "black_hole_population",
            ("step", "group"),
            "tokens in black holes",
            "tokens",
            "tokens of G in black holes",
            "each row",
            Told(),
        ),
        Variable(
            "black_hole_largest",
            ("step", "group"),
            "tokens in the largest black hole",
            "tokens",
            "tokens of G in its most populous black hole; 0 if there is none",
            "each row",
            Told(),
        ),
        Variable(
            "black_hole",
            ("token",),
            "black hole in the last row, by size; -1 for none",
            "1",
            "black hole that a token is in in the last row: 0 is the largest, -1 means none. "
            "`embevo.analysis.membership.black_holes(run, steps)` says it of any steps, `(steps, token)`",
            "first and last row",
        ),
    )
    numbers = (
        Number("jaccard_largest", "overlap of the largest black hole and the dead (Jaccard)", "1"),
        Number("jaccard_all", "overlap of all black holes and the dead (Jaccard)", "1"),
    )

    def take(self, block: Block) -> None:
        """Count in each row."""
        unsigned = without_negative_zeros(block.bits)
        equal = block.same if unsigned is block.bits else representatives(unsigned)
        counts: dict[str, list[NDArray[np.int64]]] = {}
        for ids in self.outline.groups.ids:
            census = Census.of(of_group(block.same, ids))
            values = census.distinct if equal is block.same else Census.of(of_group(equal, ids)).distinct
            for name, count in (
                ("distinct_rows", census.distinct),
                ("distinct_values", values),
                ("black_holes", census.holes),
                ("black_hole_population", census.population),
                ("black_hole_largest", census.largest),
            ):
                counts.setdefault(name, []).append(count)
        self.keep(**{name: np.stack(of, axis=1).astype(np.int64) for name, of in counts.items()})

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' counts, and who is where in the last row."""
        same = representatives(whole.last[None])[0]
        return {**super().finish(whole), "black_hole": membership(same)}

    def tell(self) -> Mapping[str, Any]:
        """How far the dead and those in black holes are the same tokens, in the last row."""
        if not self.outline.groups.known:
            return {"jaccard_largest": None, "jaccard_all": None}
        hole = self.whole.arrays["black_hole"]
        dead = self.outline.groups["dead"]
        return {
            "jaccard_largest": jaccard(np.flatnonzero(hole == 0), dead),
            "jaccard_all": jaccard(np.flatnonzero(hole >= 0), dead),
        }
