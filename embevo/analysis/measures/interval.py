"""The interval of a median that assumes nothing: by order statistics."""

import math

import numpy as np
from numpy.typing import ArrayLike


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
