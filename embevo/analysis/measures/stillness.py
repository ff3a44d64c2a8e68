"""How long tokens stay where they are, and what sets them in motion again."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole

# So many intervals without motion are a rest that a kick ends.
LONG: Final = 10


class Stillness(Measure):
    """Stretches of recorded intervals in which a token does not move. It reads nothing of the rows."""

    section = "Lattice"
    variables = (
        Variable(
            "still_share",
            ("token",),
            "share of its intervals that the token is at rest",
            "1",
            "recorded intervals in which no number of the token changed, over those of which it is known",
            "each row and the one before",
        ),
        Variable(
            "still_stretches",
            ("token",),
            "stretches of stillness",
            "1",
            "how many times the token came to rest, or began there: runs of intervals without motion",
            "each row and the one before",
        ),
        Variable(
            "still_longest",
            ("token",),
            "longest stretch of stillness",
            "intervals",
            "recorded intervals of the longest of them",
            "each row and the one before",
        ),
        Variable(
            "lift_off",
            ("token",),
            "first step at which the token moved; -1 if it never did",
            "steps",
            "first step at which a number of the token changed; -1 if none did",
            "each row and the one before",
        ),
        Variable(
            "kicks",
            ("step", "group"),
            "tokens that move again after a rest",
            "tokens",
            f"tokens of G that move after at least {LONG} intervals without motion, those before `lift_off` "
            "included",
            "each row and the one before",
        ),
        Variable(
            "kicks_of",
            ("token",),
            "kicks that the token got",
            "1",
            "how often it is among `kicks`",
            "each row and the one before",
        ),
    )
    numbers = (Number("kicks", "tokens that moved again after a rest, over all steps", "tokens"),)

    def take(self, block: Block) -> None:
        """Others have taken it."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The stretches of all tokens."""
        found = _stretches(whole.arrays["ulp_linf"], self.outline.steps)
        kicked = found.pop("kicked")
        groups = self.outline.groups.ids
        return {
            **super().finish(whole),
            **found,
            "kicks": np.stack([kicked[:, ids].sum(axis=1, dtype=np.int64) for ids in groups], axis=1),
            "kicks_of": kicked.sum(axis=0, dtype=np.int64),
        }

    def tell(self) -> Mapping[str, Any]:
        """Kicks over all steps, of each group."""
        total = self.whole.arrays["kicks"].sum(axis=0).tolist()
        return {"kicks": dict(zip(self.outline.groups.names, total, strict=True))}


def _stretches(linf: NDArray[np.float64], steps: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """``(step, token)`` who is kicked, and the variables of tokens, by name."""
    tokens = linf.shape[1]
    kicked = np.empty(linf.shape, np.bool_)
    rested, longest, stretches, known, at_rest = np.zeros((5, tokens), np.int64)
    # Of those that have not moved before, the number of the row that comes next.
    lift_off = np.zeros(tokens, np.int64)
    has_moved = np.zeros(tokens, np.bool_)
    was_still = np.zeros(tokens, np.bool_)
    for row, of_row in enumerate(linf):
        still, moved = of_row == 0, of_row > 0
        np.logical_and(moved, rested >= LONG, out=kicked[row])
        rested += 1
        rested *= still
        np.maximum(longest, rested, out=longest)
        stretches += still > was_still
        at_rest += still
        known += np.isfinite(of_row)
        has_moved |= moved
        lift_off += ~has_moved
        was_still = still
    with np.errstate(invalid="ignore", divide="ignore"):
        share = at_rest / known
    return {
        "kicked": kicked,
        "still_share": share,
        "still_stretches": stretches,
        "still_longest": longest,
        "lift_off": np.where(has_moved, np.append(steps, -1)[lift_off], -1),
    }
