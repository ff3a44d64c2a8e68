"""Cohen's d: how far apart two groups of numbers are, in units of how much they scatter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Final

# 97.5 % point of the normal distribution.
_Z: Final = 1.959963984540054


@dataclass(frozen=True)
class Effect:
    """The difference between two groups in one quantity.

    Attributes:
        one: label of a group.
        other: label of the other.
        quantity: what is compared.
        difference: mean of the one less mean of the other.
        d: Cohen's d; infinite where groups that do not scatter differ, NaN with fewer than two runs each.
        low: lower end of its 95 % interval; NaN where d is not finite.
        high: upper end of that interval.
    """

    one: str
    other: str
    quantity: str
    difference: float
    d: float
    low: float
    high: float

    @classmethod
    def of(
        cls, one: str, other: str, quantity: str, first: Sequence[float], second: Sequence[float]
    ) -> "Effect":
        """Compare two groups of values.

        d = (m1 - m2) / s with s^2 = ((n1 - 1) s1^2 + (n2 - 1) s2^2) / (n1 + n2 - 2) (J. Cohen, Statistical
        Power Analysis for the Behavioral Sciences, 1988). Its standard error is the root of
        (n1 + n2) / (n1 n2) + d^2 / (2 (n1 + n2)) (Hedges and Olkin, Statistical Methods for Meta-Analysis,
        1985), good for groups of ten or more and too small for fewer.
        """
        n1, n2 = len(first), len(second)
        difference = fmean(first) - fmean(second) if n1 and n2 else math.nan
        if n1 < 2 or n2 < 2:
            return cls(one, other, quantity, difference, math.nan, math.nan, math.nan)
        spread = math.sqrt(((n1 - 1) * variance(first) + (n2 - 1) * variance(second)) / (n1 + n2 - 2))
        if spread == 0:
            d = math.copysign(math.inf, difference) if difference else 0.0
            return cls(one, other, quantity, difference, d, math.nan, math.nan)
        d = difference / spread
        half = _Z * math.sqrt((n1 + n2) / (n1 * n2) + d * d / (2 * (n1 + n2)))
        return cls(one, other, quantity, difference, d, d - half, d + half)
