"""An array along ``step`` that reads what is asked for, when it is asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from embevo.errors import ArgumentError

if TYPE_CHECKING:
    from embevo.run.reading.tensors import Dtype, Tensor

Index = int | np.integer[Any] | slice | NDArray[Any] | list[int] | list[bool]
# What reading gets: within the array, and nothing negative.
Position = int | slice | NDArray[np.int64]


class Read(Protocol):
    """Reads rows by position, and a selection of each further axis; an integer drops its axis."""

    def __call__(
        self,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        dtype: np.dtype[Any],
        out: NDArray[Any] | None,
    ) -> NDArray[Any]:
        """In this dtype: into an array of that shape and dtype, or into a new one."""


# Where labels are along an axis that has any.
Find = Callable[[str, Sequence[object]], list[int]]
_LABELLED = ("step", "token")


@dataclass(frozen=True, repr=False)
class StepArray:
    """A lazily read array. Indices of several axes select orthogonally, as ``numpy.ix_`` does.

    Attributes:
        name: of the array.
        shape: ``(step, token, dim)`` for a matrix, ``(step,)`` for a scalar.
        dtype: of the values that reading returns.
        recorded: the dtype in which the model has it.
        dimensions: names of the axes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    recorded: np.dtype[Any]
    read: Read
    dimensions: tuple[str, ...]
    find: Find

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}: {size}" for name, size in zip(self.dimensions, self.shape, strict=True))
        return f"<StepArray {self.name} ({axes}) {self.dtype}, on disk: [:] reads it>"

    def __getitem__(self, key: Index | EllipsisType | tuple[Index | EllipsisType, ...]) -> NDArray[Any]:
        """Read rows by position (not by step number); IndexError outside the array.

        Raises:
            DamagedError: stored bytes are not what was written; the message names file, block and steps.
        """
        return self._read(key, None)

    @property
    def native(self) -> Self:
        """The same array, read in the dtype in which the model has it: bfloat16 is that of ml_dtypes.

        No 16-bit value is widened on the way, so that it takes half the memory.
        """
        return replace(self, dtype=self.recorded)

    def read_into(
        self, out: NDArray[Any], key: Index | EllipsisType | tuple[Index | EllipsisType, ...] = ...
    ) -> NDArray[Any]:
        """Read into memory that is there already, which saves the time that the system takes to give out new.

        Args:
            out: of the shape that ``array[key]`` has and of :attr:`dtype`; what it holds is overwritten, also
                where reading fails.
            key: what to read; by default all of it.

        Returns:
            ``out``.

        Raises:
            ArgumentError: ``out`` has another shape or dtype, or cannot be written to.
            DamagedError: stored bytes are not what was written.
        """
        return self._read(key, out)

    def torch(
        self,
        dtype: "Dtype" = None,
        rows: Index | EllipsisType = ...,
    ) -> "Tensor":
        """Rows as a tensor on the CPU, read straight into its memory.

        Args:
            dtype: of the tensor; ``"native"`` for the one in which the model has it. By default the one in
                which it is read as an array.
            rows: positions along ``step``; by default all.

        Raises:
            ArgumentError: the dtype is none of torch's.
            DamagedError: stored bytes are not what was written.
            MissingLibraryError: torch is not installed.
        """
        from embevo.run.reading.tensors import tensor_of  # noqa: PLC0415 - most readers need no torch

        return tensor_of(lambda native: (self.native if native else self)[rows], self.recorded, dtype)

    def _read(
        self, key: Index | EllipsisType | tuple[Index | EllipsisType, ...], out: NDArray[Any] | None
    ) -> NDArray[Any]:
        given = self._expand(key if isinstance(key, tuple) else (key,))
        first, *rest = [self._within(axis, index) for axis, index in enumerate(given)]
        if out is not None:
            shape = tuple(length_of(index) for index in (first, *rest) if not isinstance(index, int))
            _check_out(self.name, out, shape, self.dtype)
        if not isinstance(first, int):
            return self.read(first, tuple(rest), self.dtype, out)
        values = self.read(
            np.array([first]), tuple(rest), self.dtype, None if out is None else out[np.newaxis]
        )
        # Of an array of one axis, indexing gives a number, which is no view.
        return values[0] if out is None else out

    def sel(self, **labels: object) -> NDArray[Any]:
        """Read by what stands on the axes: ``sel(token=[262, " the"], step=[0, 1000])``.

        Args:
            labels: for ``token``, ids, or texts where the run knows what its tokens are; for ``step``, step
                numbers. One alone drops the axis; a list keeps it, in the order of the list.

        Raises:
            ArgumentError: the array has no such axis, or the axis no such label, or a text is the name of
                several tokens.
            DamagedError: stored bytes are not what was written.
        """
        index: list[Index] = [slice(None)] * self.ndim
        for axis, wanted in labels.items():
            if axis not in self.dimensions or axis not in _LABELLED:
                named = [name for name in _LABELLED if name in self.dimensions]
                raise ArgumentError(f"{self.name} is selected by {' and '.join(named)}, not by {axis!r}")
            one = isinstance(wanted, str) or not hasattr(wanted, "__len__")
            listed: list[object] = list(wanted) if isinstance(wanted, Iterable) and not one else [wanted]
            if listed and isinstance(listed[0], bool | np.bool_):
                raise ArgumentError(f"{axis} is selected by its numbers; a mask is an index: array[:, mask]")
            found = self.find(axis, listed)
            index[self.dimensions.index(axis)] = found[0] if one else np.array(found, np.int64)
        return self[tuple(index)]

    def _within(self, axis: int, index: Index) -> Position:
        """An index of one axis with nothing negative in it, and with positions for lists and masks."""
        size = self.shape[axis]
        if isinstance(index, slice):
            start, stop, stride = index.indices(size)
            return slice(start, max(start, stop), stride) if stride > 0 else np.arange(start, stop, stride)
        positions = np.asarray(index)
        if positions.ndim > 1 or isinstance(index, bool):
            raise IndexError(f"axis {axis} of {self.name} is indexed by integers, slices, lists and masks")
        if positions.dtype == bool and positions.ndim == 1:
            if len(positions) != size:
                raise IndexError(f"a mask of {len(positions)} for {size} along axis {axis} of {self.name}")
            return np.flatnonzero(positions)
        if positions.size and not np.issubdtype(positions.dtype, np.integer):
            raise IndexError(f"axis {axis} of {self.name} is indexed by integers, not by {positions.dtype}")
        positions = positions.astype(np.int64)
        outside = positions[(positions < -size) | (positions >= size)]
        if outside.size:
            raise IndexError(f"{outside.flat[0]} along axis {axis} of {self.name}, which has {size} there")
        positions = np.where(positions < 0, positions + size, positions)
        return int(positions) if positions.ndim == 0 else positions

    def _expand(self, key: tuple[Index | EllipsisType, ...]) -> list[Index]:
        """One index for every axis."""
        given: list[Index] = []
        for part in key:
            if isinstance(part, EllipsisType):
                given += [slice(None)] * (self.ndim - (len(key) - 1))
            elif isinstance(part, (int, np.integer, slice, list, np.ndarray)):
                given.append(part)
            else:
                raise IndexError(f"{self.name} is indexed by integers, slices and masks, not by {part!r}")
        if len(given) > self.ndim:
            raise IndexError(f"{len(given)} indices for {self.name}, which has {self.ndim} axes")
        return given + [slice(None)] * (self.ndim - len(given))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it as a numpy array."""
        if copy is False:
            raise ValueError(f"{self.name} lies on disk: reading it makes a copy")
        values = self[:]
        return values if dtype is None else values.astype(dtype)


def length_of(index: slice | NDArray[np.int64]) -> int:
    """How many positions there are in what :class:`StepArray` asks for along an axis."""
    return len(range(index.start, index.stop, index.step or 1)) if isinstance(index, slice) else len(index)


def _check_out(name: str, out: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (shape, dtype):
        found = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ArgumentError(f"{name} is read into an array of {dtype} of shape {shape}; out is {found}")
    if not out.flags.writeable:
        raise ArgumentError(f"{name} cannot be read into an array that is read-only")


def select(values: NDArray[Any], axes: tuple[Position, ...]) -> NDArray[Any]:
    """Apply an index to each axis after the first, orthogonally."""
    for axis, index in reversed(list(enumerate(axes, start=1))):
        values = values[(slice(None),) * axis + (index,)]
    return values
