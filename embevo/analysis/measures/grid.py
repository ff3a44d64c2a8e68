"""The rows that are measured when measuring all of them would take many times as long as reading them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_MEASURED: Final = 64


def spaced_rows(rows: int, most: int = MOST_MEASURED) -> NDArray[np.int64]:
    """Rows that stand for a run: the first, the last, and some between, evenly spaced in the logarithm.

    Args:
        rows: how many rows the run has.
        most: how many are chosen at most; fewer where neighbours would be the same row.

    Returns:
        Ascending rows.
    """
    between = np.geomspace(1, max(rows - 1, 1), most - 1).round().astype(np.int64)
    return np.unique(np.concatenate([[0], between[between < rows]]))
