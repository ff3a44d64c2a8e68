"""The Zarr group of a run: its arrays, their chunks, shards and codecs, and the bytes that make a block.

Nothing here writes to the disk. What comes out are files by name, in memory: so their checksums are known
before they are written, and each can be written whole, in the order that survives a kill.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count, product
from math import prod
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from embevo.run.disk.checksum import checksum
from embevo.run.format.attributes import plain_attributes
from embevo.run.format.belonging import id_of, new_id
from embevo.run.format.cells import cells_of, columns, format_of
from embevo.run.format.chunks import ChunkEncoder, vector_chunk
from embevo.run.format.dtypes import HALVES, NUMPY_DTYPES
from embevo.run.format.effort import Effort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.room import Room
from embevo.run.format.schedule import Schedule
from embevo.run.format.shards import Shards
from embevo.run.format.zarr_arrays import arrays_of

Store = Literal["both", "zarr", "safetensors"]
ZarrDtype = Literal["float32", "native"]
# The newest that is written and read. What format 1 can hold is written as that, and what is not divided
# among processes as format 2.
FORMAT: Final = 3
# Of the matrices of a block, as the group stores them. Matrices too large for that get blocks of a few steps,
# up to the second size, so that what does not change from step to step is still stored once.
_BLOCK_BYTES: Final = 32 << 20
_LARGE_BLOCK_BYTES: Final = 1 << 30
_LARGE_BLOCK_STEPS: Final = 5
# Of a block. Not powers of two: transposing 1,024 steps instead of 1,000 takes four times as long, because
# the values of all dims then fall into one set of the processor's cache.
_BLOCK_STEPS: Final = (1000, 500, 200, 100, 50, 20, 10)
GROUP_METADATA: Final = "zarr.json"
_NO_LENGTH: Final = 1 << 62


@dataclass(frozen=True)
class Layout:
    """How the frames of a run lie in its Zarr group.

    Attributes:
        frame: what a step records.
        block_steps: S, the steps of a block: of one shard.
        arrays: name to the Zarr metadata of the array; the arrays along ``step`` are there at length 0.
        attributes: of the group.
    """

    frame: FrameSpec
    block_steps: int
    arrays: Mapping[str, Mapping[str, Any]]
    attributes: Mapping[str, Any]

    @classmethod
    def new(
        cls,
        frame: FrameSpec,
        *,
        block_steps: int,
        store: Store,
        zarr_dtype: ZarrDtype,
        has_token_count: bool,
        attributes: Mapping[str, Any],
        schedule: Schedule | None = None,
        shards: Shards | None = None,
        part: Mapping[str, Any] | None = None,
    ) -> Self:
        """The layout of a new run.

        Args:
            frame: what a step records.
            block_steps: S.
            store: ``safetensors`` leaves the matrices out of the group.
            zarr_dtype: ``float32`` widens 16-bit matrices exactly, ``native`` keeps the model's dtype.
            has_token_count: whether the group gets the array ``token_count``.
            attributes: of the group, beside embevo's own.
            schedule: which steps are recorded; None for all that are captured.
            shards: the pieces of the arrays, where processes of one training record a piece each. The run
                is given an ID of its own then.
            part: of the run of one such process: its ``rank`` and ``host``, ``of``, the ID of the whole run,
                and ``cells``, by name of the array the shape of the boxes that chunks do not cross.
        """
        cells = cells_of(frame, shards, part)
        divided = shards is not None or part is not None
        own = {
            "format": format_of(frame, divided=divided),
            "frame": frame.to_json(),
            "block_steps": block_steps,
            "store": store,
            "zarr_dtype": zarr_dtype,
            **({} if schedule is None else {"schedule": schedule.to_json()}),
            **({} if shards is None else {"shards": shards.to_json(), "id": new_id()}),
            **({} if part is None else {"part": dict(part)}),
        }
        dtypes = {name: stored_dtype(dtype, zarr_dtype) for name, dtype in frame.matrices}
        kept = {} if store == "safetensors" else dtypes
        arrays = arrays_of(frame, block_steps, kept, has_token_count, cells, divided=divided)
        return cls(frame, block_steps, arrays, {**plain_attributes(attributes), "embevo": own})

    @classmethod
    def from_group(cls, group: Mapping[str, Any]) -> Self:
        """The layout of an existing run, from the metadata of its group, which has been checked before."""
        own = group["attributes"]["embevo"]
        arrays = group["consolidated_metadata"]["metadata"]
        frame = FrameSpec.from_json(own["frame"])
        return cls(frame, int(own["block_steps"]), _at_length(arrays, 0), group["attributes"])

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the matrices in the group."""
        return tuple(name for name, _ in self.frame.matrices if name in self.arrays)

    @property
    def store(self) -> Store:
        """Where the matrices of the run go."""
        store: Store = self.attributes["embevo"]["store"]
        return store

    @property
    def schedule(self) -> Schedule | None:
        """Which steps are recorded; None for all that are captured."""
        data = self.attributes["embevo"].get("schedule")
        return None if data is None else Schedule.from_json(data)

    @cached_property
    def shards(self) -> Shards | None:
        """The pieces of the arrays, where processes of one training have recorded a piece each."""
        data = self.attributes["embevo"].get("shards")
        return None if data is None else Shards.from_json(data)

    @property
    def id(self) -> str:
        """Names a run that processes have recorded together; empty for others."""
        return id_of(self.attributes)

    def image_checksum(self, image: NDArray[np.uint8]) -> int:
        """What the manifest has for the image of a step."""
        return checksum(image.data) if self.shards is None else self.shards.image_checksum(self.frame, image)

    def metadata(self, rows: int) -> dict[str, bytes]:
        """The metadata files of the group with ``rows`` rows, in the order in which they are written.

        The group's own comes last and is the one that readers follow: its consolidated metadata lets all
        arrays grow at once. Those of the single arrays are for readers that open one array by its own path.
        """
        length = str(rows).encode()
        return {key: length.join(parts) for key, parts in self._metadata_around.items()}

    @cached_property
    def _metadata_around(self) -> dict[str, list[bytes]]:
        """The metadata files of the group, cut where the number of rows stands.

        They are written with every block, and all else in them, hundreds of entries, stays as it is.
        """
        attributes = _dump(dict(self.attributes))
        # A length that no array has, and that stands nowhere else.
        rows = next(rows for rows in count(_NO_LENGTH) if str(rows).encode() not in attributes)
        arrays = _at_length(self.arrays, rows)
        group = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": dict(self.attributes),
            "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
        }
        files = {f"{name}/zarr.json": metadata for name, metadata in arrays.items()} | {GROUP_METADATA: group}
        return {key: _dump(metadata).split(str(rows).encode()) for key, metadata in files.items()}

    def constants(self, token_count: NDArray[np.int64] | None) -> dict[str, bytes]:
        """The chunk files of the arrays that do not grow: ``token`` and ``token_count``, ``(token,)``."""
        files = self._encode("token", 0, self.frame.token_ids) if self.frame.token_count else {}
        if token_count is not None:
            files |= self._encode("token_count", 0, token_count)
        return files

    def block(
        self,
        block: int,
        steps: NDArray[np.int64],
        scalars: NDArray[np.float64],
        matrices: Mapping[str, NDArray[Any]],
        *,
        effort: Effort = "small",
        beside: list[float] | None = None,
        room: Room | None = None,
    ) -> dict[str, bytes | memoryview]:
        """The chunk files of one block.

        Args:
            block: its number; it starts at row ``block * block_steps``.
            steps: ``(row,)`` global steps, at most ``block_steps`` of them.
            scalars: ``(row, scalar)``.
            matrices: each ``(row, ...)`` in the recorded dtype, its shape at a step after the rows.
            effort: with which the matrices are compressed.
            beside: to which the seconds of a core are added that other threads take.
            room: where files lie whose bytes are stored as they are.
        """
        return dict(
            self.block_files(block, steps, scalars, matrices, effort=effort, beside=beside, room=room)
        )

    def block_files(
        self,
        block: int,
        steps: NDArray[np.int64],
        scalars: NDArray[np.float64],
        matrices: Mapping[str, NDArray[Any]],
        *,
        effort: Effort,
        beside: list[float] | None,
        room: Room | None,
    ) -> Iterator[tuple[str, bytes | memoryview]]:
        """The same, one by one: what is done with a file at once finds it in the cache of the core."""
        yield from self._encode("step", block, steps).items()
        for index, name in enumerate(self.frame.scalars):
            yield from self._encode(name, block, scalars[:, index]).items()
        for name in self.matrices:
            encoder = ChunkEncoder.of(self.arrays[name])
            for column, values in columns(self.arrays[name], matrices[name]):
                rest = "".join(f".{place}" for place in column)
                for place, data in enumerate(encoder.files(values, effort, beside, room)):
                    yield f"{name}/c.{block}.{place}{rest}", data

    def _encode(self, name: str, block: int, values: NDArray[Any]) -> dict[str, bytes]:
        """The chunk file of one block of an array of one axis."""
        return {f"{name}/c.{block}": vector_chunk(self.arrays[name], values)}


def _at_length(arrays: Mapping[str, Mapping[str, Any]], rows: int) -> dict[str, dict[str, Any]]:
    grown = {}
    for name, metadata in arrays.items():
        shape = list(metadata["shape"])
        if metadata["dimension_names"][0] == "step":
            shape[0] = rows
        grown[name] = {**metadata, "shape": shape}
    return grown


def block_steps_for(frame: FrameSpec, zarr_dtype: ZarrDtype) -> int:
    """S for a frame: what 32 MiB of stored matrices hold, at most 1,000; of large matrices five, or one."""
    frame_bytes = sum(
        prod(spec.shape) * stored_dtype(spec.dtype, zarr_dtype).itemsize for _, spec in frame.arrays
    )
    least = _LARGE_BLOCK_STEPS if _LARGE_BLOCK_STEPS * frame_bytes <= _LARGE_BLOCK_BYTES else 1
    return next((steps for steps in _BLOCK_STEPS if steps * frame_bytes <= _BLOCK_BYTES), least)


def stored_dtype(dtype: str, zarr_dtype: ZarrDtype) -> np.dtype[Any]:
    """The dtype in which the group stores a matrix of a recorded dtype."""
    return np.dtype(np.float32) if zarr_dtype == "float32" and dtype in HALVES else NUMPY_DTYPES[dtype]


def _dump(value: object) -> bytes:
    return json.dumps(value, indent=2, allow_nan=False).encode()


def growing(layout: Layout) -> list[str]:
    """The arrays along ``step``, in the order in which their chunks are written."""
    return ["step", *layout.frame.scalars, *layout.matrices]


def files_of_block(layout: Layout, block: int) -> Iterator[str]:
    """The keys of the chunk files of a block."""
    for name, counts in files_by_array(layout).items():
        yield from (
            f"{name}/c.{'.'.join(map(str, (block, *place)))}" for place in product(*map(range, counts))
        )


def files_by_array(layout: Layout) -> dict[str, tuple[int, ...]]:
    """The arrays that grow, and into how many files each axis after ``step`` is divided; () for a vector."""
    parts: dict[str, tuple[int, ...]] = dict.fromkeys(growing(layout), ())
    for name in layout.matrices:
        sizes = layout.arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][1:]
        shape = layout.frame.by_name[name].shape
        parts[name] = tuple(-(-length // size) for length, size in zip(shape, sizes, strict=True))
    return parts


def identity(layout: Layout) -> str:
    """What a journal calls the run that it belongs to: a checksum of the attributes of the group."""
    text = json.dumps(dict(layout.attributes), sort_keys=True)
    return f"{checksum(text.encode()):016x}"
