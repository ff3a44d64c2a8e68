"""Matrices whose values say where they belong: every element encodes its seed, step, token and dim.

The code is a bijection on the bit patterns of the dtype, so the values include NaNs with payloads,
infinities, subnormals and negative zeros, and any element that is out of place decodes to some other place.
Arrays of other axes and dtypes are encoded likewise; of a bool, one bit is left of the code.
"""

import math
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
# Those that have no NaN.
OTHER_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name)
    for name in ("uint64", "int64", "uint32", "int32", "uint16", "int16", "uint8", "int8", "bool")
}
_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_ODD = {1: 0x9D, 2: 0x9E37, 4: 0x9E3779B1, 8: 0x9E3779B97F4A7C15}


def matrix(step: int, shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[Any]:
    """The matrix ``(token, dim)`` of a step; with 2 bytes an element, 65,536 elements are told apart."""
    return matrices(np.array([step]), shape, dtype, seed)[0]


def matrices(
    steps: NDArray[np.int64] | list[int], shape: tuple[int, ...], dtype: str, seed: int = 0
) -> NDArray[Any]:
    """The matrices ``(step, token, dim)`` of several steps, or arrays of any other shape."""
    kind = {**DTYPES, **OTHER_DTYPES}[dtype]
    size = 8 if dtype == "bool" else kind.itemsize
    elements = math.prod(shape)
    places = np.arange(elements, dtype=np.uint64).reshape(1, *shape)
    numbers = np.asarray(steps, np.uint64).reshape(-1, *(1,) * len(shape)) * np.uint64(elements) + places
    with np.errstate(over="ignore"):
        code = (numbers + np.uint64(seed * 7919)) * np.uint64(_ODD[size])
    return code >> np.uint64(63) == 1 if dtype == "bool" else code.astype(_WORDS[size]).view(kind)


def decode(
    values: NDArray[Any], shape: tuple[int, int], seed: int = 0
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The step, token and dim that each value encodes (the step modulo what the dtype can tell apart)."""
    size = values.dtype.itemsize
    bits = 8 * size
    inverse = pow(_ODD[size], -1, 1 << bits)
    code = np.ascontiguousarray(values).view(_WORDS[size]).astype(np.uint64)
    with np.errstate(over="ignore"):
        numbers = code * np.uint64(inverse) - np.uint64(seed * 7919)
    if bits < 64:
        numbers &= np.uint64((1 << bits) - 1)
    step, place = np.divmod(numbers, np.uint64(shape[0] * shape[1]))
    token, dim = np.divmod(place, np.uint64(shape[1]))
    return step.astype(np.int64), token.astype(np.int64), dim.astype(np.int64)


def widened(values: NDArray[Any]) -> NDArray[Any]:
    """float32 with the same values, worked out element by element from the definition of the formats."""
    if values.dtype not in (DTYPES["bfloat16"], DTYPES["float16"]):
        return values
    exponent_bits, mantissa_bits = (8, 7) if values.dtype == DTYPES["bfloat16"] else (5, 10)
    table = _wide_table(exponent_bits, mantissa_bits)
    return table[np.ascontiguousarray(values).view(np.uint16)].view(np.float32)


@cache
def _wide_table(exponent_bits: int, mantissa_bits: int) -> NDArray[np.uint32]:
    """``(pattern,)`` of all 65,536."""
    return np.array(
        [_wide_bits(pattern, exponent_bits, mantissa_bits) for pattern in range(1 << 16)], np.uint32
    )


def _wide_bits(pattern: int, exponent_bits: int, mantissa_bits: int) -> int:
    sign = pattern >> 15
    exponent = pattern >> mantissa_bits & ((1 << exponent_bits) - 1)
    mantissa = pattern & ((1 << mantissa_bits) - 1)
    if exponent == (1 << exponent_bits) - 1:
        return sign << 31 | 0xFF << 23 | mantissa << (23 - mantissa_bits)
    bias = (1 << (exponent_bits - 1)) - 1
    if exponent == 0:
        value = mantissa * 2.0 ** (1 - bias - mantissa_bits)
    else:
        value = (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)
    return int(np.float32(value).view(np.uint32)) | sign << 31


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays agree in shape, dtype and every bit."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def steps_of(count: int, every: int = 1) -> NDArray[np.int64]:
    """0, every, 2 * every, ..."""
    return np.arange(count, dtype=np.int64) * every


def loss_of(step: int, seed: int = 0) -> float:
    """The loss recorded with a step: it, too, says where it belongs."""
    return 1000.0 * seed + step + 0.25
