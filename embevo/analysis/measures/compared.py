"""Each measured row beside the last one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.measure import Measure


def with_last(
    measure: Measure, value: Callable[[NDArray[np.float64], NDArray[np.float64]], float]
) -> NDArray[np.float64]:
    """``(measured_step, group)`` of a number of two ``(token, dim)`` matrices; NaN for groups without tokens.

    Args:
        measure: that knows the whole run.
        value: of the vectors of a group in a row, and in the last.
    """
    rows = measure.whole.snapshots
    found = measure.by_group(len(rows))
    for group, places in enumerate(measure.outline.kept_places):
        if len(places):
            last = rows[-1][places].astype(np.float64)
            for number, row in enumerate(rows):
                found[number, group] = value(row[places].astype(np.float64), last)
    return found
