"""How far tokens move on the lattice of numbers that the recorded dtype can represent."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.lattice import displacement, places, spacing
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.phases import Phases, last_above


class Ulps(Measure):
    """Displacements in units in the last place, and when a token moved for the last time."""

    section = "Lattice"
    variables = (
        Variable(
            "ulp_l1",
            ("step", "token"),
            "L1 norm of the displacement in ULPs",
            "ULP",
            "sum of the elements of the vector of displacements in ULPs",
            "each row and the one before",
        ),
        Variable(
            "ulp_l2",
            ("step", "token"),
            "L2 norm of the displacement in ULPs",
            "ULP",
            "Euclidean norm of the vector of displacements in ULPs",
            "each row and the one before",
        ),
        Variable(
            "ulp_linf",
            ("step", "token"),
            "largest displacement of an element in ULPs",
            "ULP",
            "largest element of the vector of displacements in ULPs",
            "each row and the one before",
        ),
        Variable(
            "last_motion",
            ("token",),
            "last step at which the token moved; -1 if it never did",
            "steps",
            "last step at which a number of the token changed (+0 for -0 is no change); -1 if none did",
            "each row and the one before",
        ),
        Variable(
            "net_ulp_linf",
            ("token",),
            "largest distance of an element between first and last row",
            "ULP",
            "largest element of the displacement from the first to the last row, in ULPs",
            "first and last row",
        ),
        Variable(
            "net_quanta",
            ("token",),
            "net displacement over the length of one ULP in every element",
            "1",
            r"\|x(last) - x(first)\| / \|u\|, u being one ULP of x(first) in every element: 1 is what "
            "rounding can do",
            "first and last row",
        ),
    )
    numbers = (
        Number("phases.flowing", "last step above sqrt(dim) ULPs", "steps"),
        Number("phases.hopping", "last step with an element above 1 ULP", "steps"),
        Number("phases.moving", "last motion", "steps"),
        Number("freeze_step", "step at which the dead froze", "steps"),
    )

    def __init__(self, outline: Outline, start: int = 0) -> None:
        super().__init__(outline, start)
        self._last_motion = np.full(self.outline.tokens, -1, np.int64)

    def take(self, block: Block) -> None:
        """The displacements of each row."""
        moves = block.moves
        l1, l2, linf = (np.where(block.lost, np.nan, of) for of in (moves.l1, moves.l2, moves.linf))
        if block.before is None:
            l1[0] = l2[0] = linf[0] = np.nan
        self.keep(ulp_l1=l1, ulp_l2=l2, ulp_linf=linf)
        at = np.where(moves.linf > 0, block.steps[:, None], -1).max(axis=0)
        self._last_motion = np.maximum(self._last_motion, at)

    def merge(self, later: Self) -> None:
        """Later motion is the last."""
        super().merge(later)
        self._last_motion = np.maximum(self._last_motion, later._last_motion)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' displacements, and those from the first row to the last."""
        first, last = whole.first.astype(np.float64), whole.last.astype(np.float64)
        dtype = self.outline.dtype
        ulps = displacement(places(whole.last, dtype), places(whole.first, dtype))
        ulps[np.isnan(first) | np.isnan(last)] = np.nan
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            quanta = norms(last - first) / norms(spacing(whole.first, dtype))
        return {
            **super().finish(whole),
            "last_motion": self._last_motion,
            "net_ulp_linf": ulps.max(axis=1),
            "net_quanta": quanta,
        }

    def tell(self) -> Mapping[str, Any]:
        """How each group came to rest, and when the dead did."""
        steps, last_motion = self.outline.steps, self.whole.arrays["last_motion"]
        groups = self.outline.groups
        flowing = last_above(self.whole.arrays["ulp_l2"], np.sqrt(self.outline.dim), groups.ids)
        hopping = last_above(self.whole.arrays["ulp_linf"], 1, groups.ids)
        phases = {
            name: dataclasses.asdict(Phases.of(steps, flows, hops, last_motion[ids]))
            for name, ids, flows, hops in zip(groups.names, groups.ids, flowing, hopping, strict=True)
        }
        return {"phases": phases, "freeze_step": self._freeze_step(last_motion)}

    def _freeze_step(self, last_motion: NDArray[np.int64]) -> int | None:
        """The last step at which a dead token moved; None if that is the last row: rest was not seen."""
        dead, steps = self.outline.groups["dead"], self.outline.steps
        if not len(dead) or len(steps) < 2:
            return None
        last = int(last_motion[dead].max())
        return last if last < steps[-1] else None
