"""Black holes in a picture of the cloud: as many tokens look like one, a ring and a text say how many."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from embevo.analysis.figures.style import INK

MOST: Final = 3
_LARGEST: Final = 40.0


def largest_holes(hole: NDArray[np.int64], dead: NDArray[np.int64]) -> list[tuple[int, int, str]]:
    """The few largest black holes of one step.

    Args:
        hole: ``(token,)`` black hole of each token, the largest 0; -1 for none.
        dead: ids of the dead tokens.

    Returns:
        For each, one of its tokens, how many there are, and both in words.
    """
    found = []
    for number in range(min(MOST, int(hole.max(initial=-1)) + 1)):
        members = np.flatnonzero(hole == number)
        lost = np.intersect1d(members, dead)
        what = " dead" if len(lost) == len(members) else ""
        rest = f", {len(lost):,} dead" if len(lost) and not what else ""
        token = int(lost[0] if len(lost) else members[0])
        found.append((token, len(members), f"{len(members):,}{what} tokens at one point{rest}"))
    return found


def ring(axes: Axes, **how: Any) -> Line2D:
    """A ring that is nowhere yet."""
    return axes.plot([], [], "o", markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.8, **how)[0]


def put_ring(mark: Line2D, point: NDArray[np.float64], count: int) -> None:
    """Its area grows with the number of tokens."""
    mark.set_data(point[:1], point[1:2])
    mark.set_markersize(min(6 + 1.2 * float(np.sqrt(count)), _LARGEST))
