"""Exact conversion between a model's 16-bit floats and the float32 that Zarr stores for them.

Every bit pattern survives the round trip, signalling NaNs and their payloads included: NaNs are moved as
bits, because a conversion instruction may quieten them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.dtypes import NUMPY_DTYPES

_BFLOAT16 = NUMPY_DTYPES["bfloat16"]
_FLOAT16 = NUMPY_DTYPES["float16"]


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
