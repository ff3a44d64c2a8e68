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
        life = life_of(whole.arrays["ulp_l2"], whole.arrays["ulp_linf"], self.outline.dim)
        groups = self.outline.groups
        population = np.zeros((len(life), len(groups.ids), len(STATES)), np.int64)
        last = np.full((self.outline.tokens, len(STATES)), UNKNOWN, np.int64)
        for state in range(len(STATES)):
            among = life == state
            for group, ids in enumerate(groups.ids):
                population[:, group, state] = among[:, ids].sum(axis=1)
            at = len(life) - 1 - among[::-1].argmax(axis=0)
            last[:, state] = np.where(among.any(axis=0), self.outline.steps[at], UNKNOWN)
        return {
            **super().finish(whole),
            "state": np.array(STATES, dtype=object),
            "life": life,
            "population": population,
            "last_in_state": last,
        }


def life_of(l2: NDArray[np.float64], linf: NDArray[np.float64], dim: int) -> NDArray[np.int8]:
    """``(step, token)`` states, from the norms of the displacements in ULPs."""
    life = np.full(l2.shape, UNKNOWN, np.int8)
    life[linf == 0] = 0
    life[linf == 1] = 1
    life[linf > 1] = 2
    life[l2 > np.sqrt(dim)] = 3
    return life
