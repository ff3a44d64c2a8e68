"""What each token does at each step: it flows, hops, steps, or is at rest."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Variable, Whole

# In the order in which a token that cools down goes through them, from the last on.
STATES: Final = ("at rest", "stepping", "hopping", "flowing")
UNKNOWN: Final = -1
# Numbers that are looked at together: what a core's cache holds of them and of what is made of them.
_AT_ONCE: Final = 1 << 16
# Rows of these: so many are numbered in a byte.
_ROWS_AT_ONCE: Final = 127
# Numbers of tokens that float32 hold exactly.
_COUNTED: Final = 1 << 24


class LifeCycle(Measure):
    """The state of each token on the lattice, and how many are in which.

    It is made of the displacements in ULPs, and reads nothing.
    """

    section = "Lattice"
    variables = (
        Variable("state", ("state",), "what a token does", "", "the states below", "the run"),
        Variable(
            "life",
            ("step", "token"),
            "state of the token",
            "1",
            "0 at rest: nothing changed since the row before; 1 stepping: elements moved by one ULP at most; "
            "2 hopping: one moved by more; 3 flowing: `ulp_l2` is above sqrt(dim). -1 in the first row, and "
            "where it is not known",
            "each row and the one before",
        ),
        Variable(
            "population",
            ("step", "group", "state"),
            "tokens in each state",
            "tokens",
            "number of tokens of G in each state",
            "each row and the one before",
        ),
        Variable(
            "last_in_state",
            ("token", "state"),
            "last step at which the token was in each state",
            "steps",
            "last step with that `life`; -1 if there was none",
            "each row and the one before",
        ),
    )

    def take(self, block: Block) -> None:
        """Others have taken it."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The states of all tokens, and their numbers."""
        l2, linf = whole.arrays["ulp_l2"], whole.arrays["ulp_linf"]
        groups, steps, tokens = self.outline.groups, len(l2), self.outline.tokens
        member = np.zeros((tokens, len(groups.ids)), np.float32 if tokens <= _COUNTED else np.float64)
        for group, ids in enumerate(groups.ids):
            member[ids, group] = 1
        life = np.empty(l2.shape, np.int8)
        population = np.zeros((steps, len(groups.ids), len(STATES)), np.int64)
        # One more than the number of the row; 0 for none.
        last_row = np.zeros((len(STATES), tokens), np.int64)
        at_once = min(_ROWS_AT_ONCE, max(1, _AT_ONCE // max(1, tokens)))
        for start in range(0, steps, at_once):
            rows = slice(start, start + at_once)
            life[rows] = life_of(l2[rows], linf[rows], self.outline.dim)
            numbers = np.arange(1, 1 + len(life[rows]), dtype=np.int8)[:, None]
            for state in range(len(STATES)):
                among = life[rows] == state
                population[rows, :, state] = among.astype(member.dtype) @ member
                latest = (among * numbers).max(axis=0)
                np.maximum(
                    last_row[state], (start + latest.astype(np.int64)) * (latest > 0), out=last_row[state]
                )
        last = np.concatenate([[UNKNOWN], self.outline.steps])[last_row.T]
        return {
            **super().finish(whole),
            "state": np.array(STATES, dtype=object),
            "life": life,
            "population": population,
            "last_in_state": last,
        }


def life_of(l2: NDArray[np.float64], linf: NDArray[np.float64], dim: int) -> NDArray[np.int8]:
    """``(step, token)`` states, from the norms of the displacements in ULPs."""
    # Numbers of a byte are added in less time than they are put where something holds.
    at_rest, stepping, hopping = (of.view(np.int8) for of in (linf == 0, linf == 1, linf > 1))
    life = UNKNOWN + at_rest + 2 * stepping + 3 * hopping
    flowing = (l2 > np.sqrt(dim)).view(np.int8)
    life += flowing * (3 - life)
    return np.asarray(life)
