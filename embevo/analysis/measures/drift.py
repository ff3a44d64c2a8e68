"""Did a cloud move as a whole? Its centroid's displacement against what independent tokens would leave."""

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.interval import delete_one_interval


def drift(moved: NDArray[np.float64]) -> tuple[float, float, float]:
    """|sum d| / sqrt(sum |d|^2) of displacements d ``(token, dim)``, with its 95 % interval.

    Independent displacements without a common direction make it 1, on average over their squares; n equal
    ones sqrt(n). It is |mean d| over sqrt(mean |d|^2 / n), the root mean square of such a mean. The interval
    is that of the jackknife over tokens; NaN for fewer than ten.
    """
    squares = np.einsum("td,td->t", moved, moved)
    total = moved.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.sqrt(total @ total / squares.sum()))
        rest = total - moved
        without = np.sqrt(np.einsum("td,td->t", rest, rest) / (squares.sum() - squares))
        low, high = delete_one_interval(value, without)
    return (value, low, high)
