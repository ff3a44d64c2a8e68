"""Steps put together in bins that are evenly wide in the logarithm, as a logarithmic axis shows them."""

import numpy as np
from numpy.typing import NDArray


def log_bins(steps: NDArray[np.int64], per_decade: int) -> NDArray[np.int64]:
    """First rows of bins of consecutive rows.

    Args:
        steps: ``(step,)`` ascending global steps, from 0 on.
        per_decade: how many bins a factor of ten in steps is divided into, at most: no bin is empty.

    Returns:
        ``(bin,)`` int64 ascending row numbers; bin b ends before the first row of bin b + 1. Step 0 is in a
        bin of its own.
    """
    if not len(steps):
        return np.zeros(0, np.int64)
    number = np.floor(np.log10(np.maximum(steps, 1) * 1.0) * per_decade + 1e-9)
    number[steps < 1] = -1
    return np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1]).astype(np.int64)


def rms_in(
    values: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(bin of rows, bin of columns)`` root mean square of what is not NaN; NaN where there is nothing."""
    known = ~np.isnan(values)
    squares = _sums(np.where(known, values, 0.0) ** 2, rows, columns)
    counts = _sums(known.astype(np.float64), rows, columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(squares / counts), np.float64)


def medians_in(values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(bin,)`` median of what is not NaN; NaN where there is nothing."""
    parts = np.split(values, rows[1:])
    return np.array(
        [np.median(part[~np.isnan(part)]) if (~np.isnan(part)).any() else np.nan for part in parts]
    )


def _sums(
    values: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.asarray(np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1), np.float64)
