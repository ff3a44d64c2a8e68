"""How fast a cloud grew: in steps, and beside the way that its tokens went."""

import math

import numpy as np
from numpy.typing import NDArray


def half_growth_step(steps: NDArray[np.int64], radius: NDArray[np.float64]) -> float:
    """Step at which half of the growth to the largest radius had happened; NaN without growth.

    Between the last row below r(t0) + (max r - r(t0)) / 2 and the first that is not, the radius is taken to
    grow evenly.
    """
    row = half_growth_row(radius)
    if row is None:
        return math.nan
    half = radius[0] + (radius.max() - radius[0]) / 2
    share = (half - radius[row - 1]) / (radius[row] - radius[row - 1])
    return float(steps[row - 1] + share * (steps[row] - steps[row - 1]))


def half_growth_row(radius: NDArray[np.float64]) -> int | None:
    """The first row at which half of the growth to the largest radius had happened; None without growth."""
    if len(radius) < 2 or not np.isfinite(radius).all() or radius.max() <= radius[0]:
        return None
    return int(np.argmax(radius >= radius[0] + (radius.max() - radius[0]) / 2))


def flight(radius: NDArray[np.float64], peculiar: NDArray[np.float64], row: int) -> float:
    """Which share of the way that tokens went, beside that of their centroid, became growth.

    (r(row) - r(0)) / sum of the RMS peculiar displacements of rows 1 to row. It is 1 where all tokens fly
    straight away from the centroid, each at a speed in proportion to its distance, and never more: the radius
    is a norm of the positions about the centroid, and the displacements are theirs.
    """
    way = float(peculiar[1 : row + 1].sum())
    return float(radius[row] - radius[0]) / way if way > 0 else math.nan
