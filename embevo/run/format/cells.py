"""The boxes that chunks do not cross, where an array is divided among processes."""

from collections.abc import Iterator, Mapping
from itertools import product
from math import isqrt, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.dtypes import fill_of
from embevo.run.format.frame import FrameSpec
from embevo.run.format.shards import Shards


def columns(
    metadata: Mapping[str, Any], values: NDArray[Any]
) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
    """The parts of ``(row, first axis, ...)`` into which chunks divide the axes after the first, by place.

    A last part that the array's edge cuts off is filled up with NaN, or zeros where the dtype has none.
    """
    sizes = metadata["chunk_grid"]["configuration"]["chunk_shape"][2:]
    if list(values.shape[2:]) == sizes:
        yield (0,) * len(sizes), values
        return
    for column in product(*(range(-(-n // size)) for n, size in zip(values.shape[2:], sizes, strict=True))):
        box = tuple(slice(at * size, (at + 1) * size) for at, size in zip(column, sizes, strict=True))
        part = values[:, :, *box]
        if list(part.shape[2:]) != sizes:
            whole = np.full((*part.shape[:2], *sizes), fill_of(values.dtype), values.dtype)
            whole[:, :, *(slice(n) for n in part.shape[2:])] = part
            part = whole
        yield column, part


def format_of(frame: FrameSpec, *, divided: bool) -> int:
    """The oldest format that holds a frame, which may be divided among processes."""
    return 3 if divided else 1 if frame.is_plain else 2


def cells_of(
    frame: FrameSpec, shards: Shards | None, part: Mapping[str, Any] | None
) -> dict[str, tuple[int, ...]]:
    """By name of the array, the shape at one step of the boxes that chunks do not cross: mostly all of it."""
    if shards is not None:
        return {name: shards.cell(name, spec.shape) for name, spec in frame.arrays}
    if part is not None:
        return {name: tuple(int(size) for size in part["cells"][name]) for name, _ in frame.arrays}
    return {name: spec.shape for name, spec in frame.arrays}


def nearest_divisor(number: int, wanted: int) -> int:
    """Of the divisors of a number, that which is nearest to another one by their ratio."""
    small = [divisor for divisor in range(1, isqrt(number) + 1) if number % divisor == 0]
    return min(
        {*small, *(number // divisor for divisor in small)}, key=lambda at: (abs(log(at / wanted)), at)
    )
