"""The arrays of a run's Zarr group: how they are cut into chunks and shards, and how those are encoded."""

import json
from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, TransposeCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.core.chunk_key_encodings import ChunkKeyEncodingLike
from zarr.storage import MemoryStore

from embevo.errors import ArgumentError
from embevo.run.format.cells import nearest_divisor
from embevo.run.format.dtypes import fill_of
from embevo.run.format.frame import FrameSpec

# A chunk is a file of its own up to this many a block; above it, that many chunks make a shard.
_CHUNK_BYTES: Final = 2 << 20
_SHARD_CHUNKS: Final = 16
# Blosc's own limit.
_LONGEST_CHUNK_BYTES: Final = 2**31 - 17
# Inside a chunk of many steps, (token, dim, step): the values that one element takes over time lie side by
# side, which makes a bfloat16 trajectory half the size that it has step by step. Of few steps, (token, step,
# dim): the rows of a token lie side by side, and are written eight times as fast, for a tenth more bytes.
_MANY_STEPS: Final = 100
# All in one directory, c.7.0.0 rather than c/7/0/0: only files to create and to fsync.
_KEYS: Final[ChunkKeyEncodingLike] = {"name": "default", "separator": "."}


def arrays_of(
    frame: FrameSpec,
    steps: int,
    matrices: Mapping[str, np.dtype[Any]],
    has_token_count: bool,
    cells: Mapping[str, tuple[int, ...]],
    *,
    divided: bool,
) -> dict[str, dict[str, Any]]:
    """The metadata of every array at length 0, as zarr itself writes it."""
    held: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(held))
    tokens = frame.token_count
    for name, dtype in matrices.items():
        spec = frame.by_name[name]
        first, *rest = cells[name]
        row_bytes = steps * prod(rest) * dtype.itemsize
        most = max(1, min(first, _CHUNK_BYTES // row_bytes))
        # As many chunks as that takes, of one size: the last one is filled up, and a chunk that is stored as
        # it is takes what it would if it were full.
        chunk = -(-first // -(-first // most))
        if chunk * row_bytes > _LONGEST_CHUNK_BYTES:
            raise _too_long(name, steps, row_bytes)
        shard = _SHARD_CHUNKS * chunk
        if divided:
            # Files end where cells do; so a cell is as many whole chunks, and one shard where that is many.
            chunk, shard = nearest_divisor(first, chunk), first
        sharded = first > _SHARD_CHUNKS * chunk
        group.create_array(
            name,
            shape=(0, *spec.shape),
            dtype=dtype,
            shards=(steps, shard, *rest) if sharded else None,
            chunks=(steps, chunk, *rest),
            filters=(_transpose(len(spec.shape) + 1, steps),),
            compressors=_compressors(dtype, steps, chunk * row_bytes),
            fill_value=fill_of(dtype),
            dimension_names=("step", *spec.dimensions),
            chunk_key_encoding=_KEYS,
        )
    vectors: list[tuple[str, int, type, object, str]] = [
        ("step", 0, np.int64, -1, "step"),
        *((name, 0, np.float64, float("nan"), "step") for name in frame.scalars),
        *([("token", tokens, np.int64, -1, "token")] if tokens else []),
    ]
    if has_token_count:
        vectors.append(("token_count", tokens, np.int64, -1, "token"))
    for name, length, kind, fill, dimension in vectors:
        group.create_array(
            name,
            shape=(length,),
            dtype=kind,
            chunks=(length or steps,),
            compressors=(ZstdCodec(level=3), Crc32cCodec()),
            fill_value=fill,
            dimension_names=(dimension,),
            chunk_key_encoding=_KEYS,
        )
    return {name: json.loads(held[f"{name}/zarr.json"].to_bytes()) for name in sorted(group.array_keys())}


def _too_long(name: str, steps: int, size: int) -> ArgumentError:
    less = (
        "pass a smaller block_steps"
        if steps > 1
        else "record it in several arrays, or with more rows along its first axis"
    )
    return ArgumentError(
        f"one row of {name} is {size:,} bytes in a block of {steps:,} steps, and a chunk holds up to "
        f"{_LONGEST_CHUNK_BYTES:,}: {less}"
    )


def _transpose(axes: int, steps: int) -> TransposeCodec:
    """The order of the axes inside a chunk: steps last where there are many, otherwise the token first."""
    rest = range(2, axes)
    return TransposeCodec(order=(1, *rest, 0) if steps >= _MANY_STEPS else (1, 0, *rest))


def _compressors(dtype: np.dtype[Any], steps: int, chunk_bytes: int) -> tuple[BytesBytesCodec, ...]:
    # A chunk is compressed as one piece: Blosc's own blocks, 256 KiB at this level, make it a quarter larger.
    # Of few steps there is little to find, and large matrices come as many bytes a second.
    level = 3 if steps >= _MANY_STEPS else 1
    blosc = BloscCodec(
        cname="zstd", clevel=level, shuffle="shuffle", typesize=dtype.itemsize, blocksize=chunk_bytes
    )
    return (blosc, Crc32cCodec())
