"""The sealed rows of a run, read from its blocks or its snapshots, and compared with the manifest first."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from embevo.errors import DamagedError
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.decoding import ChunkDecoder
from embevo.run.format.dtypes import NUMPY_DTYPES
from embevo.run.format.layout import Layout, stored_dtype
from embevo.run.format.widening import narrow, widen
from embevo.run.manifest.fitting import check_blocks
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.chunk_files import REPAIR, ChunkFiles
from embevo.run.reading.chunk_reader import ChunkReader
from embevo.run.reading.fetching import fetcher_of
from embevo.run.reading.snapshots import read_snapshot
from embevo.run.reading.step_array import Position, length_of, select

# A block of n steps takes about as long to decode as an eighth of n snapshots take to read.
_SNAPSHOTS_AS_FAST_AS_A_BLOCK: Final = 8


class SealedRows:
    """The first rows of a run, as of one length of its Zarr group.

    Attributes:
        count: how many rows.
        steps: ``(row,)`` int64 global step of each.
    """

    def __init__(self, paths: RunPaths, manifest: Manifest, layout: Layout, rows: int) -> None:
        """Read ``rows`` rows; the manifest must account for them.

        Raises:
            DamagedError: it does not.
        """
        self.count = rows
        self._paths = paths
        self._manifest = manifest
        self._layout = layout
        self._blocks = manifest.sealed(rows)
        check_blocks(layout, self._blocks, manifest.path)
        with self._naming_damage("zarr.json"):
            self._group = zarr.open_group(paths.trajectory, mode="r", use_consolidated=True)
        self._files = ChunkFiles(paths, manifest)
        self._readers: dict[str, ChunkReader | None] = {}
        self._arrays: dict[str, zarr.Array[Any]] = {}
        steps = [step for block in self._blocks for step in block.steps]
        self.steps: NDArray[np.int64] = np.array(steps, np.int64)

    @property
    def compacted(self) -> int:
        """How many of the rows are in blocks that were compacted."""
        return sum(len(block.rows) for block in self._blocks if block.compacted)

    def token_count(self) -> NDArray[np.int64]:
        """``(token,)`` occurrences in the corpus; only where the group has them."""
        self._files.check([self._manifest.created], "token_count")
        with self._naming_damage("token_count"):
            return np.asarray(_array(self._group, "token_count")[:], np.int64)

    def read(
        self,
        name: str,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        dtype: np.dtype[Any] | None = None,
    ) -> NDArray[Any]:
        """Rows of an array by position, and a selection of each further axis.

        Args:
            name: of the array.
            rows: within it.
            axes: a selection of each further axis; an integer drops the axis.
            dtype: the one in which it is read by default, or the recorded one.
        """
        values = self.room(name, rows, axes, dtype or self._dtype(name))
        self.read_into(name, rows, axes, values)
        return values

    def room(
        self,
        name: str,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        dtype: np.dtype[Any],
    ) -> NDArray[Any]:
        """An array of the shape of what is asked for; nothing is in it yet."""
        with self._naming_damage(name):
            lengths = [length_of(axis) for axis in axes if not isinstance(axis, int)]
            return np.empty((length_of(rows), *lengths), dtype)

    def read_into(
        self,
        name: str,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        target: NDArray[Any],
    ) -> None:
        """As :meth:`read`, into an array of the shape of what it gives and one of its dtypes."""
        if name not in self._layout.arrays:
            self._from_snapshots(name, rows, axes, target)
            return
        if self._layout.store == "both" and name in self._layout.matrices:
            few = self._few(rows)
            # A block has to be decoded whole for one of its rows; a snapshot is that row. One that is missing
            # or damaged is not needed here.
            with contextlib.suppress(DamagedError):
                self._from_snapshots(name, _part(rows, few, None), axes, target[few:])
                rows, target = _part(rows, 0, few), target[:few]
        if not len(target):
            return
        self._from_chunks(name, rows, axes, target)

    def _few(self, rows: NDArray[np.int64] | slice) -> int:
        """From which of the rows on there are so few in their block that snapshots are read faster."""
        size, positions = self._layout.block_steps, _positions(rows)
        few = size // _SNAPSHOTS_AS_FAST_AS_A_BLOCK
        if len(positions) <= few:
            return 0
        last = int(positions[-1])
        in_last = int((positions[-few - 1 :] // size == last // size).sum())
        return len(positions) - (in_last if in_last <= few else 0)

    def _from_chunks(
        self,
        name: str,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        target: NDArray[Any],
    ) -> None:
        kept = [slice(i, i + 1) if isinstance(i, int) else i for i in axes]
        dropped = tuple(axis for axis, i in enumerate(axes, start=1) if isinstance(i, int))
        reader = self._reader(name)
        if reader is not None:
            reader.read((rows, *kept), np.expand_dims(target, dropped))
            return
        blocks = np.unique(_positions(rows) // self._layout.block_steps)
        self._files.check([self._blocks[block] for block in blocks], name)
        with self._naming_damage(name):
            # Kept, because looking an array up takes zarr as long as reading a small one.
            if name not in self._arrays:
                self._arrays[name] = _array(self._group, name)
            values = self._rows(self._arrays[name], rows, kept).squeeze(dropped)
        target[...] = as_dtype(values, target.dtype)

    def _reader(self, name: str) -> ChunkReader | None:
        """What decodes an array on all cores; None where only zarr knows its codecs."""
        if name not in self._readers:
            try:
                decoder = ChunkDecoder.of(self._layout.arrays[name])
            except MALFORMED:
                self._readers[name] = None
            else:
                self._readers[name] = ChunkReader(
                    decoder,
                    self._files,
                    lambda place: (self._blocks[place[0]], f"{name}/{decoder.key(place)}"),
                )
        return self._readers[name]

    def _dtype(self, name: str) -> np.dtype[Any]:
        if name in self._layout.frame.by_name:
            return read_dtype(self._layout, name)
        return NUMPY_DTYPES[self._layout.arrays[name]["data_type"]]

    def _rows(
        self, array: "zarr.Array[Any]", rows: NDArray[np.int64] | slice, kept: Sequence[Any]
    ) -> NDArray[Any]:
        """Rows of an array in the order that is asked for, with a selection of each further axis.

        zarr takes a list of rows out of a chunk about twenty times as slowly as a range of them. A chunk is
        decoded whole for either, so each block's rows are taken out of the range that holds them.
        """
        if isinstance(rows, slice) or not len(rows):
            return np.asarray(array.oindex[(rows, *kept)])
        of_block = rows // self._layout.block_steps
        found: list[NDArray[Any]] = []
        order: list[NDArray[np.int64]] = []
        for block in np.unique(of_block):
            places = np.flatnonzero(of_block == block)
            first, last = int(rows[places].min()), int(rows[places].max())
            part = np.asarray(array.oindex[(slice(first, last + 1), *kept)])
            found.append(part[rows[places] - first])
            order.append(places)
        return found[0] if len(found) == 1 else np.concatenate(found)[np.argsort(np.concatenate(order))]

    def _from_snapshots(
        self,
        name: str,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        target: NDArray[Any],
    ) -> None:
        for index, row in enumerate(_positions(rows).tolist()):
            matrix = self._layout.frame.matrix(self._snapshot_image(row), name)
            target[index] = as_dtype(select(matrix[np.newaxis], axes)[0], target.dtype)

    def images(self, rows: list[int]) -> Iterator[NDArray[np.uint8]]:
        """The safetensors images of rows, each compared with the checksum that it was captured with."""
        if self._layout.store == "safetensors":
            yield from map(self._snapshot_image, rows)
            return
        frame, positions = self._layout.frame, np.array(rows)
        stored = {
            name: self.read(name, positions, whole(spec.shape), spec.numpy_dtype)
            for name, spec in frame.arrays
        }
        for index, row in enumerate(rows):
            image = frame.image({name: values[index] for name, values in stored.items()})
            if self._layout.image_checksum(image) != self.image_checksum(row):
                raise DamagedError(
                    f"{self._paths.root}: step {self.steps[row]} is not what was captured. {REPAIR}"
                )
            yield image

    def _snapshot_image(self, row: int) -> NDArray[np.uint8]:
        path = self._paths.snapshot(int(self.steps[row]))
        if self._layout.store == "safetensors":
            fetcher_of(self._paths.root)(f"{path.parent.name}/{path.name}")
        try:
            return read_snapshot(path, self._layout.frame, self.image_checksum(row))
        except FileNotFoundError as error:
            raise DamagedError(f"{path} (step {self.steps[row]}) is missing. {REPAIR}") from error
        except DamagedError as error:
            raise DamagedError(f"step {self.steps[row]}: {str(error).rstrip('.')}. {REPAIR}") from error

    def image_checksum(self, row: int) -> int:
        """XXH3-64 of the safetensors image of a sealed row, as it was captured."""
        return self._blocks[row // self._layout.block_steps].image_checksum(row)

    @contextlib.contextmanager
    def _naming_damage(self, name: str) -> Iterator[None]:
        """Zarr's errors of damaged chunks and of metadata that asks for the impossible, with their place."""
        try:
            yield
        except (*MALFORMED, RuntimeError, MemoryError, OSError, AssertionError) as error:
            what = str(error) or type(error).__name__
            raise DamagedError(
                f"{self._paths.trajectory / name} cannot be decoded: {what}. {REPAIR}"
            ) from error


def read_dtype(layout: Layout, name: str) -> np.dtype[Any]:
    """The dtype in which an array is read: 16-bit floats as float32, unless the run stores them natively."""
    return stored_dtype(layout.frame.by_name[name].dtype, layout.attributes["embevo"]["zarr_dtype"])


def whole(shape: Sequence[int]) -> tuple[slice, ...]:
    """All of each axis."""
    return tuple(slice(0, length, 1) for length in shape)


def _positions(rows: NDArray[np.int64] | slice) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, slice) else rows


def _part(rows: NDArray[np.int64] | slice, first: int, stop: int | None) -> NDArray[np.int64] | slice:
    """Some of the rows, counted among them."""
    if not isinstance(rows, slice):
        return rows[first:stop]
    part = range(rows.start, rows.stop, rows.step)[first:stop]
    return slice(part.start, part.stop, part.step)


def as_dtype(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values in the dtype that they were widened from, or that they are widened to; exact both ways."""
    if values.dtype == dtype:
        return values
    return widen(values) if dtype == np.float32 else narrow(values, dtype)


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise DamagedError(f"{group.path}/{name} is not an array")
    return array
