"""How a group comes to rest on the lattice of representable numbers, in three phases.

While an update moves a token by more than sqrt(dim) ULPs in all, more than one in each element on average, it
flows as if there were no lattice. Then single elements still jump by several ULPs; then by one at a time; and
then nothing moves any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Phases:
    """The last step of each phase, None where there was no such step.

    Attributes:
        flowing: last step at which the L2 norm of a token's displacement was above sqrt(dim) ULPs.
        hopping: last step at which an element moved by more than one ULP.
        moving: last step at which anything moved.
        frozen: whether ``moving`` lies before the last recorded step, so that rest was seen.
    """

    flowing: int | None
    hopping: int | None
    moving: int | None
    frozen: bool

    @classmethod
    def of(
        cls,
        steps: NDArray[np.int64],
        flowing: int | None,
        hopping: int | None,
        last_motion: NDArray[np.int64],
    ) -> "Phases":
        """The phases of a group.

        Args:
            steps: ``(step,)``.
            flowing: number of the last row in which a token of the group flows; None for none.
            hopping: of the last in which an element moves by more than one ULP.
            last_motion: ``(token,)`` step, -1 for none.
        """
        moving = int(last_motion.max(initial=-1))
        return cls(
            None if flowing is None else int(steps[flowing]),
            None if hopping is None else int(steps[hopping]),
            moving if moving >= 0 else None,
            bool(len(steps) > 1 and len(last_motion) and moving < steps[-1]),
        )


def last_above(
    values: NDArray[np.float64], bound: float, groups: Sequence[NDArray[np.int64]]
) -> list[int | None]:
    """The last row in which a token of each group is above a bound; None where there is none.

    Args:
        values: ``(step, token)``.
        bound: which numbers are compared with.
        groups: ids of the tokens of each.
    """
    found: dict[int, int] = {}
    for row in reversed(range(len(values))):
        above = values[row] > bound
        if above.any():
            for group, ids in enumerate(groups):
                if group not in found and above[ids].any():
                    found[group] = row
            if len(found) == len(groups):
                break
    return [found.get(group) for group in range(len(groups))]
