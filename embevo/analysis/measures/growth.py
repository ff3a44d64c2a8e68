"""How fast a cloud grew, and whether it had come to rest."""

import math

import numpy as np
from numpy.typing import NDArray


def half_growth_share(steps: NDArray[np.int64], radius: NDArray[np.float64]) -> float:
    """Share of the run after which half of the growth to the largest radius has happened; NaN without growth.

    (t - t0) / (t1 - t0), t being the first step with r(t) >= r(t0) + (max r - r(t0)) / 2.
    """
    if len(steps) < 2 or not np.isfinite(radius).all() or radius.max() <= radius[0]:
        return math.nan
    row = int(np.argmax(radius >= radius[0] + (radius.max() - radius[0]) / 2))
    return float((steps[row] - steps[0]) / (steps[-1] - steps[0]))


def late_row(steps: NDArray[np.int64], learning_rate: NDArray[np.float64] | None, window: float) -> int:
    """Row at which the last share of the summed squared learning rate begins.

    In that sum the squared radius of a cloud that diffuses grows evenly, a step being as long as its rate.
    Where the learning rate was not recorded at every step after the first, the window is one of steps.
    """
    done = (steps - steps[0]).astype(np.float64)
    if learning_rate is not None and np.isfinite(learning_rate[1:]).all() and learning_rate[1:].sum() > 0:
        done = np.concatenate([[0.0], np.cumsum(learning_rate[1:] ** 2 * np.diff(steps))])
    return int(np.argmax(done >= (1 - window) * done[-1]))


def late_change(radius: NDArray[np.float64], row: int) -> float:
    """|r(end) - r(row)| / r(end) of radii ``(step,)``; NaN for a point."""
    if len(radius) < 2 or not radius[-1] > 0:
        return math.nan
    return float(abs(radius[-1] - radius[row]) / radius[-1])
