"""The sealed rows of a run, read from its blocks or its snapshots, and compared with the manifest first."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from embevo.errors import DamagedError
from embevo.run.disk.checksum import checksum
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.layout import Layout, stored_dtype
from embevo.run.format.steps import describe
from embevo.run.format.widening import narrow, widen
from embevo.run.manifest.damage import why_damaged
from embevo.run.manifest.entry import Block, Created
from embevo.run.manifest.fitting import check_blocks
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.snapshots import read_snapshot
from embevo.run.reading.step_array import Position, select

# A block of n steps takes about as long to decode as an eighth of n snapshots take to read.
_SNAPSHOTS_AS_FAST_AS_A_BLOCK: Final = 8
REPAIR: Final = "embevo verify --deep lists all damage; embevo recover rebuilds what can be rebuilt."


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
        self._checked: set[tuple[str, int]] = set()
        self._arrays: dict[str, zarr.Array[Any]] = {}
        steps = [step for block in self._blocks for step in block.steps]
        self.steps: NDArray[np.int64] = np.array(steps, np.int64)

    @property
    def compacted(self) -> int:
        """How many of the rows are in blocks that were compacted."""
        return sum(len(block.rows) for block in self._blocks if block.compacted)

    def token_count(self) -> NDArray[np.int64]:
        """``(token,)`` occurrences in the corpus; only where the group has them."""
        self._check_files([self._manifest.created], "token_count")
        with self._naming_damage("token_count"):
            return np.asarray(_array(self._group, "token_count")[:], np.int64)

    def read(self, name: str, rows: NDArray[np.int64] | slice, axes: tuple[Position, ...]) -> NDArray[Any]:
        """Rows of an array by position, and a selection of each further axis."""
        positions = np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, slice) else rows
        if name not in self._layout.arrays:
            return self._from_snapshots(name, positions, axes)
        few = len(positions) <= self._layout.block_steps // _SNAPSHOTS_AS_FAST_AS_A_BLOCK
        if self._layout.store == "both" and name in self._layout.matrices and few:
            # A block has to be decoded whole for one of its rows; a snapshot is that row. One that is missing
            # or damaged is not needed here.
            with contextlib.suppress(DamagedError):
                return self._from_snapshots(name, positions, axes)
        blocks = np.unique(positions // self._layout.block_steps)
        self._check_files([self._blocks[block] for block in blocks], name)
        kept = [slice(i, i + 1) if isinstance(i, int) else i for i in axes]
        with self._naming_damage(name):
            # Kept, because looking an array up takes zarr as long as reading a small one.
            if name not in self._arrays:
                self._arrays[name] = _array(self._group, name)
            values = self._rows(self._arrays[name], rows, kept)
        return values.squeeze(tuple(axis for axis, i in enumerate(axes, start=1) if isinstance(i, int)))

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

    def _from_snapshots(self, name: str, rows: NDArray[np.int64], axes: tuple[Position, ...]) -> NDArray[Any]:
        with self._naming_damage(name):
            shape = (len(rows), *self._layout.frame.by_name[name].shape)
            values = np.empty(shape, read_dtype(self._layout, name))
        for index, row in enumerate(rows):
            matrix = self._layout.frame.matrix(self._snapshot_image(int(row)), name)
            values[index] = widen(matrix) if matrix.dtype != values.dtype else matrix
        return select(values, axes)

    def images(self, rows: list[int]) -> Iterator[NDArray[np.uint8]]:
        """The safetensors images of rows, each compared with the checksum that it was captured with."""
        if self._layout.store == "safetensors":
            yield from map(self._snapshot_image, rows)
            return
        stored = {name: self.read(name, np.array(rows), ()) for name in self._layout.matrices}
        for index, row in enumerate(rows):
            image = self._layout.frame.image(
                {
                    name: narrow(values[index], self._layout.frame.dtype(name))
                    for name, values in stored.items()
                }
            )
            if checksum(image.data) != self.image_checksum(row):
                raise DamagedError(
                    f"{self._paths.root}: step {self.steps[row]} is not what was captured. {REPAIR}"
                )
            yield image

    def _snapshot_image(self, row: int) -> NDArray[np.uint8]:
        path = self._paths.snapshot(int(self.steps[row]))
        try:
            return read_snapshot(path, self._layout.frame, self.image_checksum(row))
        except FileNotFoundError as error:
            raise DamagedError(f"{path} (step {self.steps[row]}) is missing. {REPAIR}") from error
        except DamagedError as error:
            raise DamagedError(f"step {self.steps[row]}: {str(error).rstrip('.')}. {REPAIR}") from error

    def image_checksum(self, row: int) -> int:
        """XXH3-64 of the safetensors image of a sealed row, as it was captured."""
        return self._blocks[row // self._layout.block_steps].image_checksum(row)

    def _check_files(self, entries: Sequence[Created | Block], name: str) -> None:
        """Compare the chunk files of an array with the manifest, each once for every length it has had."""
        for entry in entries:
            for key in entry.files:
                mark = (key, entry.stop)
                if key.partition("/")[0] == name and mark not in self._checked:
                    self._check_file(key, entry)
                    self._checked.add(mark)

    def _check_file(self, key: str, entry: Created | Block) -> None:
        if why_damaged(self._paths, self._manifest, entry, key):
            # A short last block may have been sealed longer since.
            self._manifest.refresh()
        wrong = why_damaged(self._paths, self._manifest, entry, key)
        if wrong:
            where = ""
            if isinstance(entry, Block):
                where = f" (block {entry.number}, steps {describe(entry.steps)})"
            raise DamagedError(f"{self._paths.trajectory / key}{where} {wrong}. {REPAIR}")

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


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise DamagedError(f"{group.path}/{name} is not an array")
    return array
