"""Which chunks a selection touches, and which part of each goes where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Along one axis: a range with a positive stride, or positions in any order.
Along = slice | NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """What is taken of one chunk.

    Attributes:
        chunk: its position in the grid of chunks.
        inside: what of it, along each axis.
        outside: where that goes in what is asked for, along each axis.
    """

    chunk: tuple[int, ...]
    inside: tuple[Along, ...]
    outside: tuple[Along, ...]


def pieces(selection: Sequence[Along], chunk_shape: Sequence[int]) -> Iterator[Piece]:
    """The pieces of an orthogonal selection, one for each chunk that it touches, in the order of chunks."""
    axes = [list(_along(index, size)) for index, size in zip(selection, chunk_shape, strict=True)]
    for parts in product(*axes):
        chunk, inside, outside = zip(*parts, strict=True)
        yield Piece(chunk, inside, outside)


def taken(values: NDArray[np.generic], index: Sequence[Along]) -> NDArray[np.generic]:
    """An orthogonal selection: a view of what ranges say, then copies along axes with lists."""
    values = values[tuple(part if isinstance(part, slice) else slice(None) for part in index)]
    for axis, part in enumerate(index):
        if not isinstance(part, slice):
            values = np.take(values, part, axis)
    return values


def put(target: NDArray[np.generic], index: Sequence[Along], values: NDArray[np.generic]) -> None:
    """Assign values to an orthogonal selection."""
    if all(isinstance(part, slice) for part in index):
        target[tuple(index)] = values
        return
    positions = [
        np.arange(part.start, part.stop, part.step or 1) if isinstance(part, slice) else part
        for part in index
    ]
    target[np.ix_(*positions)] = values


def _along(index: Along, size: int) -> Iterator[tuple[int, Along, Along]]:
    """Along one axis: the number of each chunk, what of it is taken, and where that goes."""
    whole = _as_range(index) if isinstance(index, np.ndarray) else index
    if isinstance(whole, np.ndarray):
        chunks = whole // size
        for chunk in np.unique(chunks).tolist():
            places = np.flatnonzero(chunks == chunk)
            yield chunk, whole[places] - chunk * size, places
        return
    positions = range(whole.start, whole.stop, whole.step or 1)
    if not positions:
        return
    for chunk in range(positions[0] // size, positions[-1] // size + 1):
        # The first position in this chunk, and the first behind it, counted along the selection.
        first, stop = (
            min(len(positions), max(0, -(-(edge - positions.start) // positions.step)))
            for edge in (chunk * size, (chunk + 1) * size)
        )
        if first < stop:
            start, last = positions[first] - chunk * size, positions[stop - 1] - chunk * size
            yield chunk, slice(start, last + 1, positions.step), slice(first, stop)


def _as_range(index: NDArray[np.int64]) -> Along:
    """Positions as a range, where they ascend with one stride; otherwise as they are."""
    if not len(index):
        return slice(0, 0, 1)
    first, last = int(index[0]), int(index[-1])
    stride = int(index[1]) - first if len(index) > 1 else 1
    if stride < 1 or (index != first + stride * np.arange(len(index))).any():
        return index
    return slice(first, last + 1, stride)
