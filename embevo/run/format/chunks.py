"""The chunk files of an array: the bytes that zarr itself would write, made without the interpreter lock.

zarr's own pipeline runs in Python between its codecs, and so takes the lock from the training thread several
hundred times a block; and it copies on one core only. Here everything but a few calls a chunk is numpy, Blosc
and CRC-32C at work without the lock, on all cores where a block has many chunks.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, Self

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray

from embevo.run.format.dtypes import NUMPY_DTYPES, fill_of
from embevo.run.format.widening import widen

_SHUFFLES: Final = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
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
        transpose, _, blosc, _ = (codec.get("configuration", {}) for codec in codecs)
        return cls(
            NUMPY_DTYPES[metadata["data_type"]],
            steps,
            tokens,
            file_tokens,
            sharded,
            tuple(transpose["order"]),
            Blosc(blosc["cname"], blosc["clevel"], _SHUFFLES[blosc["shuffle"]], blosc["blocksize"]),
        )

    def files(self, values: NDArray[Any]) -> Iterator[bytes]:
        """The files of one block, of ``(row, token, dim)`` values, or of other axes, in the recorded dtype.

        A block of less than S rows, and a last chunk of fewer tokens, are filled up with NaN, or zeros where
        the dtype has none.
        """
        parts = [values[:, first : first + self.tokens] for first in range(0, values.shape[1], self.tokens)]
        if not self.sharded:
            yield from (b"".join(self._chunk(part)) for part in parts)
            return
        with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
            try:
                chunks = pool.map(self._chunk, parts)
            except RuntimeError:
                # The interpreter is ending, and no pool takes anything any more: one chunk after the other.
                chunks = map(self._chunk, parts)
            while shard := list(islice(chunks, self.file_tokens // self.tokens)):
                yield self._shard(shard)

    def _shard(self, chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The file of consecutive chunks, each with its CRC-32C: they, and then where each is."""
        index = np.full((self.file_tokens // self.tokens, 2), _NO_CHUNK, "<u8")
        offset = 0
        for place, (data, crc) in enumerate(chunks):
            index[place] = offset, len(data) + len(crc)
            offset += len(data) + len(crc)
        where = index.tobytes()
        return b"".join((*chain.from_iterable(chunks), where, _crc32c(where)))

    def _chunk(self, values: NDArray[Any]) -> tuple[bytes, bytes]:
        """A compressed chunk, and its CRC-32C."""
        rows, tokens, *rest = values.shape
        shape = (self.steps, self.tokens, *rest)
        chunk = np.empty([shape[axis] for axis in self.order], self.dtype)
        if (rows, tokens) != shape[:2]:
            chunk.fill(fill_of(self.dtype))
        # Bits are copied, not numbers: no conversion may touch the payload of a NaN.
        bits = chunk.view(f"u{self.dtype.itemsize}")
        filled = bits.transpose(np.argsort(self.order))[:rows, :tokens]
        if values.dtype == self.dtype:
            filled[...] = values.view(bits.dtype)
        elif values.dtype == NUMPY_DTYPES["bfloat16"]:
            # As widen does, without a second copy of the chunk.
            filled[...] = values.view(np.uint16)
            filled <<= 16
        else:
            filled[...] = widen(np.ascontiguousarray(values)).view(bits.dtype)
        data: bytes = self.compressor.encode(bits)
        return data, _crc32c(data)


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


def _crc32c(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")
