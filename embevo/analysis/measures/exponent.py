"""The exponent of mean squared displacement against lag: 1 for Brownian motion, 2 for ballistic, 0 for none.

Fitted by least squares of log MSD against log lag, over lags from ``min_lag`` steps, below which the memory
of the optimizer's momentum shows, to a tenth of the run, above which the few independent pairs of a
trajectory make the estimate useless (Qian, Sheetz and Elson, Biophys. J. 60, 910, 1991). The lags are evenly
spaced in the logarithm, so that long ones do not outnumber short ones.

The points of an MSD curve are strongly correlated, so the residuals of the fit say nothing of its error.
The interval is that of a delete-one-block jackknife over ten stretches of origins (Künsch, Ann. Statist. 17,
1217, 1989), with Student's t at nine degrees of freedom. A stretch is as long as the longest lag that is
fitted, so neighbouring ones are not wholly independent, and a run whose motion dies down has stretches that
count for little: the interval is then too narrow or very wide. docs/analysis.md says how often it holds.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.interval import jackknife_interval

_FEWEST_LAGS: Final = 4


@dataclass(frozen=True)
class Exponent:
    """A fitted exponent; all numbers NaN where there is nothing to fit.

    Attributes:
        value: slope of log MSD against log lag.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
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

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return (self.low, self.high)


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
    # Stretches without a single origin, after gaps, leave the others to speak.
    used = np.flatnonzero(counts.sum(axis=1) > 0)
    left_out = np.array(
        [_slope(logs, squares.sum(axis=0) - squares[s], counts.sum(axis=0) - counts[s])[0] for s in used]
    )
    slope, intercept = whole
    low, high = jackknife_interval(slope, left_out)
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
