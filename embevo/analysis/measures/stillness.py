"""How long tokens stay where they are, and what sets them in motion again."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole

# So many intervals without motion are a rest that a kick ends.
LONG: Final = 10
# Tokens whose stretches are looked for at once: several numbers are needed for each row of theirs.
_AT_ONCE: Final = 256


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
        tokens, steps = self.outline.tokens, self.outline.steps
        kicked = np.zeros((len(steps), tokens), np.bool_)
        found = {
            "still_share": np.empty(tokens),
            "still_stretches": np.empty(tokens, np.int64),
            "still_longest": np.empty(tokens, np.int64),
            "lift_off": np.empty(tokens, np.int64),
        }
        for start in range(0, tokens, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            kicked[:, some], of_some = _stretches(whole.arrays["ulp_linf"][:, some], steps)
            for name, values in zip(found, of_some, strict=True):
                found[name][some] = values
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


def _stretches(
    linf: NDArray[np.float64], steps: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], tuple[NDArray[Any], ...]]:
    """``(step, token)`` who is kicked, and of each token share, stretches, longest, and lift-off."""
    still, moved = linf == 0, linf > 0
    rested = rest_before(still)
    begins = still & ~np.concatenate([np.zeros_like(still[:1]), still[:-1]])
    known = np.isfinite(linf).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = still.sum(axis=0) / known
    return moved & (rested >= LONG), (
        share,
        begins.sum(axis=0, dtype=np.int64),
        # Of the row that a stretch ends with, one more than of the row before.
        np.where(still, rested + 1, 0).max(axis=0),
        np.where(moved.any(axis=0), steps[moved.argmax(axis=0)], -1),
    )


def rest_before(still: NDArray[np.bool_]) -> NDArray[np.int64]:
    """``(step, token)`` how many intervals right before each row passed without motion."""
    rows = np.arange(1, len(still) + 1)[:, None]
    # One more than the number of the last row that was not still.
    broken = np.maximum.accumulate(np.where(still, 0, rows), axis=0)
    lasting = rows - broken
    return np.concatenate([np.zeros_like(lasting[:1]), lasting[:-1]])
