"""The chunk files of an array: the bytes that zarr itself would write, made without the interpreter lock.

zarr's own pipeline runs in Python between its codecs, and so takes the lock from the training thread several
hundred times a block; and it copies on one core only. Here everything but a few calls a chunk is numpy, Blosc
and CRC-32C at work without the lock, on all cores where a block has many chunks.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, Self, TypeVar

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray

from embevo.run.format.dtypes import NUMPY_DTYPES, fill_of
from embevo.run.format.effort import Effort, blosc_of
from embevo.run.format.frames import (
    LEAST_ELEMENTS,
    fast_halves,
    frame_bytes,
    halves_bytes,
    halves_bytes_at_most,
    stored_frame,
    stored_halves,
)
from embevo.run.format.room import Room
from embevo.run.format.widening import widen
from embevo.run.limits import threads_worth_having

_SHUFFLES: Final = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
# Of LZ4 where little is to be spent: higher ones find hardly more in numbers.
_FAST_LEVEL: Final = 1
_CRC_BYTES: Final = 4
# Steps that are transposed together: what they hold of a chunk stays in the processor's first cache, wherever
# the rows lie. Of all steps at once, rows that lie a power of two apart take six times as long.
_TILE_STEPS: Final = 32
_BFLOAT16: Final = NUMPY_DTYPES["bfloat16"]
_Part = TypeVar("_Part")
_Made = TypeVar("_Made")
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
        self,
        values: NDArray[Any],
        effort: Effort = "small",
        beside: list[float] | None = None,
        room: Room | None = None,
    ) -> Iterator[bytes | memoryview]:
        """The files of one block, of ``(row, token, dim)`` values, or of other axes, in the recorded dtype.

        A block of less than S rows, and a last chunk of fewer tokens, are filled up with NaN, or zeros where
        the dtype has none. To ``beside`` the seconds of a core are added that threads of their own take.
        Files whose bytes are stored as they are lie in ``room``, where one is given.
        """
        parts = [values[:, first : first + self.tokens] for first in range(0, values.shape[1], self.tokens)]
        room = room or Room()
        if effort == "none":
            yield from self._stored_files(parts, beside, room)
            return
        if not self.sharded:
            yield from (self._chunk(part, effort) for part in parts)
            return
        chunks = _together(partial(self._chunk, effort=effort), parts, beside)
        while shard := list(islice(chunks, self.file_tokens // self.tokens)):
            yield self._shard(shard)

    def _stored_files(
        self, parts: Sequence[NDArray[Any]], beside: list[float] | None, room: Room
    ) -> Iterator[memoryview]:
        """Files of chunks that are stored as they are: how long each is, is known before."""
        rest, dtype = parts[0].shape[2:], parts[0].dtype
        size = self._stored_bytes(rest, dtype)
        if not self.sharded:
            halves = room.take(2 * self._elements(rest)) if self._in_halves(rest, dtype) else None
            for part in parts:
                whole = room.take(size)
                self._store(part, whole, halves)
                yield whole.data
            return
        count = self.file_tokens // self.tokens
        shards = [parts[first : first + count] for first in range(0, len(parts), count)]
        wholes = [room.take(len(shard) * size + _index_bytes(count)) for shard in shards]
        places = [
            whole[place * size : (place + 1) * size]
            for whole, shard in zip(wholes, shards, strict=True)
            for place in range(len(shard))
        ]

        def store(number: int) -> None:
            self._store(parts[number], places[number], None)

        for _ in _together(store, range(len(parts)), beside):
            pass
        for whole, shard in zip(wholes, shards, strict=True):
            whole[len(shard) * size :] = np.frombuffer(_index([size] * len(shard), count), np.uint8)
            yield whole.data

    def _shard(self, chunks: Sequence[bytes]) -> bytes:
        """The file of consecutive chunks: they, and then where each is."""
        return b"".join((*chunks, _index([len(data) for data in chunks], self.file_tokens // self.tokens)))

    def stored_bytes(self, shape: Sequence[int], dtype: np.dtype[Any]) -> int:
        """Length of the files of a block whose bytes are stored as they are, or a few bytes a chunk more.

        A block of fewer than S rows takes as much.

        Args:
            shape: of the array at a step, ``(token, ...)``.
            dtype: in which it is recorded.
        """
        chunks, files = -(-shape[0] // self.tokens), -(-shape[0] // self.file_tokens)
        index = files * _index_bytes(self.file_tokens // self.tokens) if self.sharded else 0
        elements = self._elements(shape[1:])
        chunk = frame_bytes(elements, self.dtype.itemsize)
        if self._in_halves(shape[1:], dtype):
            chunk = halves_bytes_at_most(elements)
        return chunks * (chunk + _CRC_BYTES) + index

    def _laid(self, rest: Sequence[int]) -> tuple[int, ...]:
        """The shape of a chunk, in its order, of values with these axes after the token's."""
        shape = (self.steps, self.tokens, *rest)
        return tuple(shape[axis] for axis in self.order)

    def _elements(self, rest: Sequence[int]) -> int:
        return math.prod(self._laid(rest))

    def _in_halves(self, rest: Sequence[int], dtype: np.dtype[Any]) -> bool:
        """Whether 16-bit numbers are widened, and lie in the chunk without the zeros that this adds."""
        is_widened = dtype == _BFLOAT16 and self.dtype == np.float32
        return is_widened and self._elements(rest) >= LEAST_ELEMENTS

    def _stored_bytes(self, rest: Sequence[int], dtype: np.dtype[Any]) -> int:
        """Length of a chunk that is stored as it is, with its CRC-32C."""
        elements = self._elements(rest)
        if self._in_halves(rest, dtype):
            return halves_bytes(elements) + _CRC_BYTES
        return frame_bytes(elements, self.dtype.itemsize) + _CRC_BYTES

    def _store(
        self, values: NDArray[Any], whole: NDArray[np.uint8], halves: NDArray[np.uint8] | None
    ) -> None:
        """Make the chunk of some values where it will lie, so that its bytes are copied once.

        Args:
            values: of the chunk.
            whole: ``(byte,)``, of the length of the chunk.
            halves: memory for it as 16-bit numbers; None to take what is fresh.
        """
        rest = values.shape[2:]
        laid = self._laid(rest)
        if self._in_halves(rest, values.dtype):
            own = np.empty(laid, np.uint16) if halves is None else halves.view(np.uint16).reshape(laid)
            self._lay(values, own, _BFLOAT16)
            stored_halves(own.reshape(-1), whole[:-_CRC_BYTES])
        else:
            held = stored_frame(self._elements(rest), self.dtype.itemsize, whole[:-_CRC_BYTES])
            self._lay(values, held.reshape(laid), self.dtype)
        whole[-_CRC_BYTES:] = np.frombuffer(_crc32c(whole[:-_CRC_BYTES]), np.uint8)

    def _chunk(self, values: NDArray[Any], effort: Effort) -> bytes:
        """A compressed chunk, followed by its CRC-32C."""
        laid = self._laid(values.shape[2:])
        if effort != "small" and self._in_halves(values.shape[2:], values.dtype):
            halves = np.empty(laid, np.uint16)
            self._lay(values, halves, _BFLOAT16)
            return _joined(fast_halves(halves.reshape(-1)))
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
            bits = values.view(chunk.dtype)
            if values.ndim > 2 and bits.strides[-1] == filled.strides[-1] == chunk.itemsize:
                # A row of the last axis at a time.
                row = f"V{values.shape[-1] * chunk.itemsize}"
                bits, filled = bits.view(row), filled.view(row)
            filled[...] = bits
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


def _together(
    make: Callable[[_Part], _Made], parts: Sequence[_Part], beside: list[float] | None
) -> Iterator[_Made]:
    """What is made of each of some parts, in their order, on all cores."""

    def made(part: _Part) -> _Made:
        began = time.thread_time()
        result = make(part)
        if beside is not None:
            beside.append(time.thread_time() - began)
        return result

    with ThreadPoolExecutor(min(len(parts), threads_worth_having())) as pool:
        try:
            results = pool.map(made, parts)
        except RuntimeError:
            # The interpreter is ending, and no pool takes anything any more: one part after the other.
            results = (make(part) for part in parts)
        yield from results


def _index_bytes(count: int) -> int:
    """Length of the index of a shard of so many chunks."""
    return 16 * count + _CRC_BYTES


def _index(lengths: Sequence[int], count: int) -> bytes:
    """Where the chunks of a shard are, which has room for ``count`` of them, and the CRC-32C of that."""
    index = np.full((count, 2), _NO_CHUNK, "<u8")
    offset = 0
    for place, length in enumerate(lengths):
        index[place] = offset, length
        offset += length
    where = index.tobytes()
    return where + _crc32c(where)


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
