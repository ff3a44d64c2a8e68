"""How a group comes to rest on the lattice of representable numbers, in three phases.

While an update moves a token by more than sqrt(dim) ULPs in all, more than one in each element on average, it
flows as if there were no lattice. Then single elements still jump by several ULPs; then by one at a time; and
then nothing moves any more.
"""

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
        flows: NDArray[np.bool_],
        hops: NDArray[np.bool_],
        last_motion: NDArray[np.int64],
    ) -> "Phases":
        """The phases of a group.

        Args:
            steps: ``(step,)``.
            flows: ``(step, token)`` whether the L2 norm of the displacement is above sqrt(dim) ULPs.
            hops: ``(step, token)`` whether its largest element is above one ULP.
            last_motion: ``(token,)`` step, -1 for none.
        """
        moving = int(last_motion.max(initial=-1))
        return cls(
            _last(steps, flows),
            _last(steps, hops),
            moving if moving >= 0 else None,
            bool(len(steps) > 1 and len(last_motion) and moving < steps[-1]),
        )


def _last(steps: NDArray[np.int64], holds: NDArray[np.bool_]) -> int | None:
    rows = np.flatnonzero(holds.any(axis=1))
    return int(steps[rows[-1]]) if len(rows) else None
