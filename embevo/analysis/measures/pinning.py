"""Elements that no update can move: half of the distance to the next number is more than the update.

A number that is added to another and rounded to the nearest changes it only if it is at least half of its
unit in the last place. An update of AdamW is, element by element, about as large as the learning rate while
its gradients keep their sign, and smaller otherwise; a sudden larger gradient can make it
(1 - beta1) / sqrt(1 - beta2) = 3.2 times as large for a moment (Kingma and Ba, ICLR 2015, section 2.1). An
element is called pinned where half of its ULP is more than the learning rate.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.lattice import mantissa_bits, places


def pinned_from(learning_rate: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """From which magnitude on elements are pinned at each learning rate.

    Half of the ULP of x is 2^(e - m - 1), with 2^e the largest power of two up to |x| and m the stored bits
    of the mantissa. It is more than the rate from |x| = 2^e on, e being the smallest integer above
    log2(rate) + m + 1.

    Args:
        learning_rate: ``(...,)`` rates; none at a rate that is not known.
        dtype: in which values are kept.

    Returns:
        ``(...,)`` magnitudes; 0 at a rate of 0, and NaN where the rate is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log2(learning_rate) + mantissa_bits(dtype) + 1) + 1
        found = np.exp2(exponent)
    return np.asarray(np.where(learning_rate == 0, 0.0, found), np.float64)


def pinned_place(limit: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.integer]:
    """From which place on the lattice on, away from zero, magnitudes are at least as large as limits.

    Args:
        limit: ``(...,)`` powers of two, or 0; what it says of NaN says nothing.
        dtype: in which values are kept.

    Returns:
        ``(...,)`` of the type of :func:`~embevo.analysis.measures.lattice.places`.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = places(limit.astype(dtype), dtype)
    # What is smaller than all positive numbers becomes 0.
    return np.asarray(np.where(limit > 0, np.maximum(found, 1), found), found.dtype)
