"""The chunk files of an array: the bytes that zarr itself would write, made without the interpreter lock.

zarr's own pipeline runs in Python between its codecs, and so takes the lock from the training thread several
hundred times a block; and it copies on one core only. Here everything but a few calls a chunk is numpy, Blosc
and CRC-32C at work without the lock, on all cores where a block has many chunks.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray

from embevo.run.format.dtypes import NUMPY_DTYPES, fill_of
from embevo.run.format.effort import Effort, blosc_of
from embevo.run.format.frames import LEAST_ELEMENTS, fast_halves, stored_frame, stored_halves
from embevo.run.format.widening import widen

_SHUFFLES: Final = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
# Of LZ4 where little is to be spent: higher ones find hardly more in numbers.
_FAST_LEVEL: Final = 1
_CRC_BYTES: Final = 4
# Steps that are transposed together: what they hold of a chunk stays in the processor's first cache, wherever
# the rows lie. Of all steps at once, rows that lie a power of two apart take six times as long.
_TILE_STEPS: Final = 32
_BFLOAT16: Final = NUMPY_DTYPES["bfloat16"]
# Where the index of a shard says that there is no chunk.
_NO_CHUNK: Final = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class ChunkEncoder:
    """Makes the files of one array, which are divided along its first axis after ``step``.

    Attributes:
        dtype: in which the group stores it.
        steps: S, of a chunk.
        tokens: of a chunk: its length along the first axis after ``step``.
        file_tokens: of a file; more than ``tokens`` where the file is a shard.
        sharded: whether the file is a shard, even of one chunk.
        order: of the axes inside a chunk.
        compressor: of a chunk.
    """

    dtype: np.dtype[Any]
    steps: int
    tokens: int
    file_tokens: int
    sharded: bool
    order: tuple[int, ...]
    compressor: Blosc

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """The encoder that an array's Zarr metadata, written by embevo, asks for."""
        steps, file_tokens, *_ = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        codecs, tokens = metadata["codecs"], file_tokens
        sharded = codecs[0]["name"] == "sharding_indexed"
        if sharded:
            shard = codecs[0]["configuration"]
            codecs, tokens = shard["codecs"], shard["chunk_shape"][1]
        transpose = codecs[0]["configuration"]
        blosc = blosc_of(metadata)
        return cls(
            NUMPY_DTYPES[metadata["data_type"]],
            steps,
            tokens,
            file_tokens,
            sharded,
            tuple(transpose["order"]),
            Blosc(blosc["cname"], blosc["clevel"], _SHUFFLES[blosc["shuffle"]], blosc["blocksize"]),
        )

    def files(
        self, values: NDArray[Any], effort: Effort = "small", beside: list[float] | None = None
    ) -> Iterator[bytes | memoryview]:
        """The files of one block, of ``(row, token, dim)`` values, or of other axes, in the recorded dtype.

        A block of less than S rows, and a last chunk of fewer tokens, are filled up with NaN, or zeros where
        the dtype has none. To ``beside`` the seconds of a core are added that threads of their own take.
        """
        parts = [values[:, first : first + self.tokens] for first in range(0, values.shape[1], self.tokens)]
        if not self.sharded:
            yield from (self._chunk(part, effort) for part in parts)
            return

        def made(part: NDArray[Any]) -> bytes | memoryview:
            began = time.thread_time()
            chunk = self._chunk(part, effort)
            if beside is not None:
                beside.append(time.thread_time() - began)
            return chunk

        with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
            try:
                chunks = pool.map(made, parts)
            except RuntimeError:
                # The interpreter is ending, and no pool takes anything any more: one chunk after the other.
                chunks = (self._chunk(part, effort) for part in parts)
            while shard := list(islice(chunks, self.file_tokens // self.tokens)):
                yield self._shard(shard)

    def _shard(self, chunks: Sequence[bytes | memoryview]) -> bytes:
        """The file of consecutive chunks: they, and then where each is."""
        index = np.full((self.file_tokens // self.tokens, 2), _NO_CHUNK, "<u8")
        offset = 0
        for place, data in enumerate(chunks):
            index[place] = offset, len(data)
            offset += len(data)
        where = index.tobytes()
        return b"".join((*chunks, where, _crc32c(where)))

    def _chunk(self, values: NDArray[Any], effort: Effort) -> bytes | memoryview:
        """A compressed chunk, followed by its CRC-32C."""
        shape = (self.steps, self.tokens, *values.shape[2:])
        elements = math.prod(shape)
        laid = tuple(shape[axis] for axis in self.order)
        is_widened = values.dtype == _BFLOAT16 and self.dtype == np.float32
        if is_widened and effort != "small" and elements >= LEAST_ELEMENTS:
            halves = np.empty(laid, np.uint16)
            self._lay(values, halves, _BFLOAT16)
            if effort == "none":
                return _finished(stored_halves(halves.reshape(-1), _CRC_BYTES))
            return _joined(fast_halves(halves.reshape(-1)))
        if effort == "none":
            # Made where it will lie, so that its bytes are copied once.
            whole, held = stored_frame(elements, self.dtype.itemsize, _CRC_BYTES)
            self._lay(values, held.reshape(laid), self.dtype)
            return _finished(whole)
        chunk = np.empty(laid, f"u{self.dtype.itemsize}")
        self._lay(values, chunk, self.dtype)
        blosc = self.compressor
        if effort == "fast":
            blosc = Blosc("lz4", _FAST_LEVEL, blosc.shuffle, blosc.blocksize)
        return _joined([np.frombuffer(blosc.encode(chunk), np.uint8)])

    def _lay(self, values: NDArray[Any], chunk: NDArray[Any], dtype: np.dtype[Any]) -> None:
        """Lay values ``(row, token, ...)`` into the bits of a chunk, in its order, as ``dtype``."""
        rows, tokens = values.shape[:2]
        laid = chunk.transpose(np.argsort(self.order))
        if (rows, tokens) != laid.shape[:2]:
            chunk.view(dtype).fill(fill_of(dtype))
        filled = laid[:rows, :tokens]
        # Bits are copied, not numbers: no conversion may touch the payload of a NaN.
        if self.order[-1] != 0 and values.dtype == dtype:
            filled[...] = values.view(chunk.dtype)
            return
        if self.order[-1] != 0 and values.dtype == _BFLOAT16:
            # As widen does, without a second copy of the chunk.
            filled[...] = values.view(np.uint16)
            filled <<= 16
            return
        for first in range(0, rows, _TILE_STEPS):
            tile = np.ascontiguousarray(values[first : first + _TILE_STEPS])
            filled[first : first + _TILE_STEPS] = (tile if tile.dtype == dtype else widen(tile)).view(
                chunk.dtype
            )


def _finished(whole: NDArray[np.uint8]) -> memoryview:
    """A frame with room behind it for its CRC-32C, and that there."""
    whole[-_CRC_BYTES:] = np.frombuffer(_crc32c(whole[:-_CRC_BYTES]), np.uint8)
    return whole.data


def _joined(pieces: Sequence[NDArray[np.uint8]]) -> bytes:
    """The pieces of a frame, and their CRC-32C."""
    crc = 0
    for piece in pieces:
        crc = google_crc32c.extend(crc, piece)
    return b"".join((*(piece.data for piece in pieces), crc.to_bytes(_CRC_BYTES, "little")))


def vector_chunk(metadata: Mapping[str, Any], values: NDArray[Any]) -> bytes:
    """The file of a block of an array of one axis, from its first ``values``; the rest is the fill value.

    The Zarr metadata is such as embevo writes for ``step``, the scalars, ``token`` and ``token_count``.
    """
    (length,) = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    _, zstd, _ = metadata["codecs"]
    chunk = np.full(length, metadata["fill_value"], metadata["data_type"])
    chunk[: len(values)] = values
    data: bytes = Zstd(zstd["configuration"]["level"]).encode(chunk)
    return data + _crc32c(data)


def _crc32c(data: bytes | NDArray[np.uint8]) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little")
