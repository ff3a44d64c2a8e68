"""diff(): where two recordings part, to the last bit, in one pass over what they share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.differing.difference import ArrayDifference, Difference, FirstDifference
from embevo.analysis.differing.opening import open_side
from embevo.analysis.differing.rows import Compared, bits_of, compare_rows
from embevo.analysis.differing.said import differing_settings
from embevo.analysis.differing.sharing import Pair, Shared, shared
from embevo.analysis.differing.side import Recorded, Rows
from embevo.analysis.measures.lattice import displacement, places
from embevo.errors import ArgumentError
from embevo.run.format.dtypes import FLOATS, NUMPY_DTYPES
from embevo.run.format.widening import common_dtype, narrow, widen_to
from embevo.run.paths import PathLike
from embevo.run.reading.reader import Run

# Of each side, read at once.
_BATCH_BYTES: Final = 64 << 20
# A block is decoded whole, so that it is read whole up to this size.
_LARGE_BYTES: Final = 256 << 20
_FLOATS: Final = {NUMPY_DTYPES[name] for name in FLOATS}


def diff(
    one: Run | PathLike,
    other: Run | PathLike,
    *,
    arrays: Sequence[str] | Mapping[str, str] | None = None,
    rotation: bool = False,
    checkpoints: bool = False,
    on_rows: Callable[[int, int], None] | None = None,
) -> Difference:
    """Compare two recordings step by step, bit by bit, in what they share.

    A recording is a run, a folder of ``step_<number>.safetensors`` or one such file, a Zarr array or group of
    any program's; steps and tokens that only one has are left out and said. Arrays of two dtypes are compared
    after exact widening; NaNs are compared by their bits, and +0 and -0 differ.

    Args:
        one: the first, or where it lies.
        other: the second, or where it lies.
        arrays: which to compare; a mapping compares arrays of the first with those of another name in the
            second. By default all that both have, numbers such as the loss included.
        rotation: also give the least distance up to a rotation (orthogonal Procrustes, Schoenemann 1966) of
            each matrix, for trainings that began with other seeds. Takes a singular value decomposition of
            ``(dim, dim)`` a step.
        checkpoints: compare the weights of the last checkpoint of each, whatever their steps.
        on_rows: called now and then with how many rows are done, of how many.

    Raises:
        AnalysisError: they share no step, or no array that can be compared.
        ArgumentError: an array that is named is not there.
        NotARunError: a path holds nothing that can be compared.
        DamagedError: stored bytes are not what was written.
    """
    sides = open_side(one, checkpoints=checkpoints), open_side(other, checkpoints=checkpoints)
    found = shared(*sides, _named(arrays))
    series = [_Series(pair, rotation=rotation and _is_matrix(pair)) for pair in found.pairs]
    said = sides[0].settings, sides[1].settings
    done, total = 0, len(found.steps) * len(series)
    for of in series:
        for batch in _batches(found, of.pair, sides[0].block_rows):
            of.take(found.steps[batch], [rows[batch] for rows in found.rows])
            done += batch.stop - batch.start
            if on_rows is not None:
                on_rows(done, total)
    return Difference(
        one=sides[0].path,
        other=sides[1].path,
        kinds=(sides[0].kind, sides[1].kind),
        steps=found.steps,
        arrays=tuple(of.finish() for of in series),
        settings=differing_settings(*said) if all(said) else (),
        remarks=found.remarks,
    )


def _named(arrays: Sequence[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    if arrays is None or isinstance(arrays, Mapping):
        return None if arrays is None else dict(arrays)
    if isinstance(arrays, str):
        raise ArgumentError(f"arrays={arrays!r} is a text: name them in a list, [{arrays!r}]")
    return {name: name for name in arrays}


def _is_matrix(pair: Pair) -> bool:
    return len(pair.shape) == 2 and pair.dtype in _FLOATS


def _batches(found: Shared, pair: Pair, block_rows: int) -> Iterator[slice]:
    """Ranges of shared steps that are read at once: whole blocks of the first side, where they fit."""
    nbytes = max(array.stored.itemsize * int(np.prod(array.shape)) for array in (pair.one, pair.other))
    rows = _BATCH_BYTES // nbytes // block_rows * block_rows or min(block_rows, _LARGE_BYTES // nbytes) or 1
    numbers = found.rows[0] // rows
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    yield from (slice(start, stop) for start, stop in pairwise(edges))


@dataclass
class _Series:
    """What was found of an array so far."""

    pair: Pair
    rotation: bool
    compared: list[Compared] = field(default_factory=list)
    first: FirstDifference | None = None

    def take(self, steps: NDArray[np.int64], rows: Sequence[NDArray[np.int64]]) -> None:
        """Read and compare rows."""
        pair = self.pair
        arrays = (pair.one, pair.other)
        read = [array.read(_range(at), only) for array, at, only in zip(arrays, rows, pair.at, strict=True)]
        values = [widen_to(each, pair.dtype) for each in read]
        found = compare_rows(values[0], values[1], rotation=self.rotation)
        if self.first is None and found.first is not None:
            row, place = found.first
            ends = [each[row].reshape(-1)[place : place + 1] for each in read]
            self.first = _first(pair, int(steps[row]), place, ends)
        self.compared.append(found)

    def finish(self) -> ArrayDifference:
        """All of it."""
        pair = self.pair

        def joined(name: str) -> NDArray[np.float64]:
            return np.concatenate([getattr(found, name) for found in self.compared])

        return ArrayDifference(
            name=pair.name,
            other_name=pair.other_name,
            dtypes=(pair.one.dtype.name, pair.other.dtype.name),
            shape=pair.shape,
            distance=joined("distance"),
            equal=joined("equal"),
            cosine=joined("cosine"),
            rotated=joined("rotated") if self.rotation else None,
            differing=sum(found.differing for found in self.compared),
            zero_signs=sum(found.zero_signs for found in self.compared),
            nan_payloads=sum(found.nan_payloads for found in self.compared),
            first=self.first,
        )


def _range(rows: NDArray[np.int64]) -> Rows:
    """Ascending rows as a slice where they are a range, which is read faster."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def _first(pair: Pair, step: int, place: int, ends: Sequence[NDArray[Any]]) -> FirstDifference:
    index = [int(part) for part in np.unravel_index(place, pair.shape)]
    if pair.tokens is not None:
        index[0] = int(pair.tokens[index[0]])
    # Where both have it in one dtype, that is the one to count and to show in.
    dtype = common_dtype(pair.one.dtype, pair.other.dtype)
    ulps, how = None, ""
    if dtype in _FLOATS:
        wide = [widen_to(end, pair.dtype).astype(np.float64) for end in ends]
        nan = [bool(np.isnan(end[0])) for end in wide]
        if all(nan):
            how = "NaNs of other bits"
        elif wide[0][0] == wide[1][0]:
            how = "the sign of zero"
        if not any(nan):
            # Places are numbered from float32 for all that fits into it.
            wider = dtype if dtype == np.float64 else np.dtype(np.float32)
            found = [places(widen_to(end, wider), dtype) for end in ends]
            ulps = int(displacement(found[0], found[1])[0])
    return FirstDifference(
        step=step,
        place=dict(zip(pair.axes, index, strict=True)),
        one=_shown(pair.one, ends[0]),
        other=_shown(pair.other, ends[1]),
        ulps=ulps,
        how=how,
    )


def _shown(array: Recorded, value: NDArray[Any]) -> str:
    """A number and its bits in the dtype in which the model has it."""
    own = narrow(value, array.dtype)
    bits = int(bits_of(own)[0])
    number = own[0].item()
    text = (
        f"{float(number):.{17 if own.dtype.itemsize == 8 else 9}g}" if own.dtype in _FLOATS else f"{number}"
    )
    return f"{text} (0x{bits:0{2 * own.dtype.itemsize}x})"
