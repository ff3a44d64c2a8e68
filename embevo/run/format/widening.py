"""Exact conversion between a model's 16-bit floats and the float32 that Zarr stores for them.

Every bit pattern survives the round trip, signalling NaNs and their payloads included: NaNs are moved as
bits, because a conversion instruction may quieten them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.dtypes import FLOATS, NUMPY_DTYPES

_BFLOAT16 = NUMPY_DTYPES["bfloat16"]
_FLOAT16 = NUMPY_DTYPES["float16"]
_FLOATS = {NUMPY_DTYPES[name] for name in FLOATS}


def widen(values: NDArray[Any]) -> NDArray[Any]:
    """float32 of bfloat16 or float16 values, exactly; any other dtype as it is."""
    if values.dtype == _BFLOAT16:
        bits = values.view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    if values.dtype == _FLOAT16:
        with np.errstate(invalid="ignore"):
            wide = values.astype(np.float32)
        nan = np.isnan(wide)
        half = values.view(np.uint16)[nan].astype(np.uint32)
        wide.view(np.uint32)[nan] = (half & 0x8000) << 16 | 0x7F80_0000 | (half & 0x03FF) << 13
        return wide
    return values


def common_dtype(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any] | None:
    """The narrowest dtype that holds every value of both exactly; None where they are not of one kind."""
    if one == other:
        return one
    floats = {dtype for dtype in (one, other) if dtype in _FLOATS}
    if len(floats) == 2:
        return np.dtype(np.float64 if np.dtype(np.float64) in floats else np.float32)
    if one.kind in "iu" and other.kind in "iu":
        both = np.result_type(one, other)
        return both if both.kind in "iu" else None
    return None


def widen_to(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values in a dtype that holds all of them exactly (:func:`common_dtype`); NaNs keep their bits.

    A NaN of float32 gets its 23 bits of mantissa as the upper ones of the 52 of float64, as a conversion that
    does not quieten it would.
    """
    if values.dtype == dtype:
        return values
    if dtype not in _FLOATS:
        return values.astype(dtype)
    single = widen(values)
    if dtype == np.float32:
        return single
    with np.errstate(invalid="ignore"):
        wide = single.astype(np.float64)
    nan = np.isnan(wide)
    if nan.any():
        bits = np.ascontiguousarray(single).view(np.uint32)[nan].astype(np.uint64)
        wide.view(np.uint64)[nan] = (
            (bits & 0x8000_0000) << 32 | 0x7FF0_0000_0000_0000 | (bits & 0x007F_FFFF) << 29
        )
    return wide


def narrow(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The inverse of :func:`widen`: the 16-bit values that were widened to these float32 values."""
    if values.dtype == dtype:
        return values
    bits = np.ascontiguousarray(values).view(np.uint32)
    if dtype == _BFLOAT16:
        return (bits >> 16).astype(np.uint16).view(_BFLOAT16)
    with np.errstate(invalid="ignore", over="ignore"):
        half = np.ascontiguousarray(values).astype(_FLOAT16)
    nan = np.isnan(half)
    wide = bits[nan]
    half.view(np.uint16)[nan] = ((wide >> 16) & 0x8000 | 0x7C00 | (wide >> 13) & 0x03FF).astype(np.uint16)
    return half
