"""Distances on the lattice of representable numbers, in units in the last place (ULPs).

The numbers of a floating-point type are numbered in ascending order: 0 for +0 and for -0, +1 for the smallest
positive number, -1 for the smallest negative one, and so on through the finite numbers to infinity. The
distance of two numbers is the difference of their numbers, as in B. Dawson, "Comparing Floating Point
Numbers, 2012 Edition" (Random ASCII); there both zeros have one place too. Not-a-number has no place: a
distance from or to one is NaN, here.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.widening import narrow

# All bits but that of the sign.
_MAGNITUDE: Final[dict[str, np.signedinteger[Any]]] = {
    "float64": np.int64(2**63 - 1),
    "float32": np.int32(2**31 - 1),
    "bfloat16": np.int16(2**15 - 1),
    "float16": np.int16(2**15 - 1),
}
# Stored bits of the mantissa, and the exponent of the smallest normal number.
_FORMATS: Final = {"float64": (52, -1022), "float32": (23, -126), "bfloat16": (7, -126), "float16": (10, -14)}


def places(values: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[np.integer]:
    """The number of each value among those that the recorded dtype can represent.

    Args:
        values: float32 or float64; 16-bit values widened to float32.
        dtype: in which they were recorded.

    Returns:
        int16, int32 or int64, as wide as the dtype. NaNs come beyond the infinities, by their bits, so that
        two of them are equal only if their bits are.
    """
    return places_of(bits_of(values, dtype), dtype)


def places_of(bits: NDArray[np.signedinteger[Any]], dtype: np.dtype[Any]) -> NDArray[np.integer]:
    """The same, of the bits of values in the recorded dtype, numbers of its width."""
    sign = bits >> (8 * bits.dtype.itemsize - 1)
    magnitude: NDArray[np.integer] = bits & _MAGNITUDE[dtype.name]
    # A negative number of this magnitude: all bits but for its own are turned over, and one is added.
    magnitude ^= sign
    magnitude -= sign
    return magnitude


def bits_of(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.signedinteger[Any]]:
    """The values' bits in the recorded dtype, as signed numbers of its width.

    Args:
        values: in that dtype, or 16-bit values widened to float32.
        dtype: in which they were recorded.
    """
    if dtype.itemsize == 2:
        return np.ascontiguousarray(narrow(values, dtype)).view(np.int16)
    return np.ascontiguousarray(values).view(f"i{dtype.itemsize}")


def displacement(now: NDArray[np.integer], before: NDArray[np.integer]) -> NDArray[np.float64]:
    """Absolute distance in ULPs between places; exact below 2^53, and correctly rounded above."""
    if now.dtype == np.int64:
        # Modulo 2^64 the difference of the larger and the smaller is right, though it may not fit an int64.
        larger = np.maximum(now, before).view(np.uint64)
        return np.asarray(larger - np.minimum(now, before).view(np.uint64), np.float64)
    apart = np.subtract(now, before, dtype=np.float64)
    return np.asarray(np.abs(apart, out=apart), np.float64)


def signed_displacement(now: NDArray[np.integer], before: NDArray[np.integer]) -> NDArray[np.float64]:
    """Distance in ULPs from places on the lattice to later ones; exact below 2^53, and rounded above."""
    if now.dtype != np.int64:
        return np.asarray(np.subtract(now, before, dtype=np.float64), np.float64)
    # The distance of two numbers of 64 bits may not fit into one; modulo 2^64 that of the larger is right.
    larger = np.maximum(now, before).view(np.uint64)
    apart = (larger - np.minimum(now, before).view(np.uint64)).astype(np.float64)
    return np.asarray(np.where(now < before, -apart, apart), np.float64)


def infinity(dtype: np.dtype[Any]) -> int:
    """The place of infinity."""
    return int(places(np.array([np.inf]).astype(dtype), dtype)[0])


def spacing(values: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Distance from each value to the next larger magnitude that the dtype can represent; NaN if not finite.

    2^(floor(log2 |x|) - m) for a normal number, m being the stored bits of the mantissa, and the smallest
    subnormal below that: one ULP in the units of x.
    """
    bits, smallest_exponent = _FORMATS[dtype.name]
    magnitude = np.abs(values.astype(np.float64))
    _, exponent = np.frexp(magnitude)
    # frexp counts exponents from 1/2; those of zero and of subnormals are that of the smallest normal number.
    exponent = np.maximum(np.where(magnitude == 0, smallest_exponent, exponent - 1), smallest_exponent)
    return np.where(np.isfinite(magnitude), np.ldexp(1.0, exponent - bits), np.nan)


def mantissa_bits(dtype: np.dtype[Any]) -> int:
    """Stored bits of the mantissa."""
    return _FORMATS[dtype.name][0]
