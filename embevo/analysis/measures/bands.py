"""Bands in which statistics lie where a null is true: of several statistics together, in 95 of 100 cases."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 0.95


@dataclass(frozen=True)
class Band:
    """A statistic beside what the null makes of it; NaN where there is nothing to measure.

    Attributes:
        value: as measured.
        null: its mean under the null.
        low: lower end of the band.
        high: upper end.
    """

    value: float
    null: float
    low: float
    high: float


def bands(values: NDArray[np.float64], null: NDArray[np.float64]) -> list[Band]:
    """A band for each of several statistics; all hold together with 95 %.

    Each is m -+ q s, m and s being mean and standard deviation over the simulated cases, and q the 95 %
    quantile, over the cases, of the largest |v - m| / s among all statistics: the studentised envelope of
    Myllymäki, Mrkvička, Grabarnik, Seijo and Hahn (J. R. Stat. Soc. B 79, 381, 2017).

    Args:
        values: ``(statistic,)`` as measured; NaN where one could not be.
        null: ``(case, statistic)`` simulated likewise. Values that are not finite are left out.
    """
    finite = np.isfinite(null)
    counted = np.maximum(finite.sum(axis=0), 1)
    known = np.isfinite(values) & (finite.sum(axis=0) > 1)
    null = np.where(finite, null, 0.0)
    mean = null.sum(axis=0) / counted
    apart = np.where(finite, null - mean, 0.0)
    spread = np.sqrt((apart**2).sum(axis=0) / np.maximum(counted - 1, 1))
    scattering = known & (spread > 0)
    largest = np.abs(apart[:, scattering] / spread[scattering]).max(axis=1, initial=0.0)
    half = np.quantile(largest, LEVEL) * spread if len(largest) else spread
    columns = np.where(known, np.stack([values, mean, mean - half, mean + half]), np.nan)
    return [Band(*map(float, column)) for column in columns.T]
