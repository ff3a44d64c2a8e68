"""The exponent of mean squared displacement against lag: 1 for Brownian motion, 2 for ballistic, 0 for none.

Fitted by least squares of log MSD against log lag, over lags from ``min_lag`` steps, below which the memory
of the optimizer's momentum shows, to a tenth of the run, above which the few independent pairs of a
trajectory make the estimate useless (Qian, Sheetz and Elson, Biophys. J. 60, 910, 1991). The lags are evenly
spaced in the logarithm, so that long ones do not outnumber short ones.

There is no interval of confidence: the points of an MSD curve are strongly correlated, so the residuals of
the fit say nothing of its error, and the stretches of a run whose steps die down are no sample of anything.
What is told is how much the exponent hangs on single stretches of the run: the smallest and the largest one
that is found when one of ten stretches of origins is left out, equally many rows each.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FEWEST_LAGS: Final = 4


@dataclass(frozen=True)
class Exponent:
    """A fitted exponent; all numbers NaN where there is nothing to fit.

    Attributes:
        value: slope of log MSD against log lag.
        low: the smallest without one of ten stretches of origins; NaN where a stretch has no origin.
        high: the largest.
        short: slope of the shorter half of the fitted lags alone; where it differs from that of the longer
            half, the curve is bent, and one exponent does not say all.
        long: slope of the longer half.
        prefactor: the fitted MSD at a lag of one step, squared embedding units.
        first_lag: shortest lag that was fitted, steps.
        last_lag: longest lag that was fitted, steps.
    """

    value: float
    low: float
    high: float
    short: float
    long: float
    prefactor: float
    first_lag: float
    last_lag: float


def fit_exponent(
    lags: NDArray[np.int64],
    squares: NDArray[np.float64],
    origins: NDArray[np.int64],
    *,
    min_lag: float,
    max_lag: float,
) -> Exponent:
    """Fit one curve.

    Args:
        lags: ``(lag,)`` steps.
        squares: ``(segment, lag)`` sums of squared displacements by stretch of origins.
        origins: ``(segment, lag)`` how many.
        min_lag: shortest lag to fit, steps.
        max_lag: longest lag to fit, steps.
    """
    nothing = Exponent(*[math.nan] * 8)
    window = (lags >= min_lag) & (lags <= max_lag) & (origins.sum(axis=0) > 0)
    if window.sum() < _FEWEST_LAGS:
        return nothing
    logs = np.log(lags[window].astype(np.float64))
    squares, counts = squares[:, window], origins[:, window].astype(np.float64)
    whole = _slope(logs, squares.sum(axis=0), counts.sum(axis=0))
    if not math.isfinite(whole[0]):
        return nothing
    left_out = np.array(
        [
            _slope(logs, squares.sum(axis=0) - mine, counts.sum(axis=0) - count)[0]
            if count.any()
            else math.nan
            for mine, count in zip(squares, counts, strict=True)
        ]
    )
    slope, intercept = whole
    low, high = float(left_out.min()), float(left_out.max())
    middle = len(logs) // 2
    short, long = (
        _slope(logs[half], squares[:, half].sum(axis=0), counts[:, half].sum(axis=0))[0]
        for half in (slice(middle), slice(middle, None))
    )
    shortest, longest = float(lags[window][0]), float(lags[window][-1])
    return Exponent(slope, low, high, short, long, math.exp(intercept), shortest, longest)


def _slope(
    logs: NDArray[np.float64], squares: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and intercept; NaN where a mean square is not a positive number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.log(squares / counts)
    if not np.isfinite(means).all():
        return (math.nan, math.nan)
    deviation = logs - logs.mean()
    slope = float((deviation * means).sum() / (deviation**2).sum())
    return (slope, float(means.mean() - slope * logs.mean()))
