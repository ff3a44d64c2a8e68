"""Intervals that assume little: of a median by order statistics, of a share, and by the jackknife."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Parts that a jackknife leaves out, one at a time.
PARTS: Final = 10
# 97.5 % point of Student's t with nine degrees of freedom, and of the normal distribution.
_T_9: Final = 2.2621571628540993
_Z: Final = 1.959963984540054


def jackknife_interval(value: float, left_out: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of a statistic from its values without each of ten parts of the sample.

    value -+ t s with s^2 = (9 / 10) sum (v - mean v)^2 over the ten values v (Künsch, Ann. Statist. 17, 1217,
    1989), and t of Student's distribution with nine degrees of freedom.

    Returns:
        Lower and upper end; NaN unless there are ten values and all are finite.
    """
    values = np.asarray(left_out, np.float64)
    if values.shape != (PARTS,) or not np.isfinite(values).all():
        return (math.nan, math.nan)
    half = _T_9 * math.sqrt((PARTS - 1) / PARTS * float(((values - values.mean()) ** 2).sum()))
    return (value - half, value + half)


def delete_one_interval(value: float, left_out: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of a statistic from its values without each single token.

    It is that of the jackknife, with the normal approximation.

    Returns:
        Lower and upper end; NaN for fewer than ten values, or where one is not finite.
    """
    count = len(left_out)
    if count < PARTS or not np.isfinite(left_out).all():
        return (math.nan, math.nan)
    half = _Z * math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    return (value - half, value + half)


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share; NaN of nothing.

    By E. B. Wilson, J. Am. Stat. Assoc. 22, 209, 1927.
    """
    if not count:
        return (math.nan, math.nan)
    share, square = hits / count, _Z**2 / count
    middle = share + square / 2
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return ((middle - half) / (1 + square), (middle + half) / (1 + square))


def median_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """The shortest symmetric pair of order statistics that covers the median with that confidence.

    The median of the population lies between the k-th smallest and the k-th largest of n independent values
    with probability 1 - 2 P(B < k), B being binomial with n and 1/2 (W. R. Thompson, Ann. Math. Statist. 7,
    122, 1936). Below six values no pair reaches 95 %, and the interval is from the smallest to the largest.

    Returns:
        Lower end, upper end, and the probability that is really reached; NaN and 0 without values.
    """
    ordered = np.sort(np.asarray(values, np.float64).ravel())
    count = len(ordered)
    if not count or np.isnan(ordered).any():
        return (math.nan, math.nan, 0.0)
    # One k after the other, outwards in: each leaves out one value more at either end.
    below, k = _probability(count, 0), 1
    while k + 1 <= (count + 1) // 2 and 1 - 2 * (below + _probability(count, k)) >= confidence:
        below += _probability(count, k)
        k += 1
    return (float(ordered[k - 1]), float(ordered[count - k]), max(0.0, 1 - 2 * below))


def _probability(count: int, heads: int) -> float:
    """Of so many heads in ``count`` throws, by logarithms: 2^-n is 0 in a float for large n."""
    ways = math.lgamma(count + 1) - math.lgamma(heads + 1) - math.lgamma(count - heads + 1)
    return math.exp(ways - count * math.log(2))
