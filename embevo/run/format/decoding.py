"""Chunks back from their bytes, without zarr: how an array's metadata says that they were made.

What a compressor was told is read from the compressed bytes themselves, so chunks of one array may have been
compressed more and less hard.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Self

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray

from embevo.run.format.dtypes import NUMPY_DTYPES

_CRC_BYTES: Final = 4
_BLOSC_HEADER_BYTES: Final = 16
_NO_CHUNK: Final = 2**64 - 1
_FROM_BYTES: Final = {"name": "bytes", "configuration": {"endian": "little"}}


# Into a buffer exactly as long as what comes out; ValueError or RuntimeError where the bytes are not such.
Decompressor = Callable[[memoryview, NDArray[np.uint8]], None]


@dataclass(frozen=True)
class ChunkDecoder:
    """Decodes the chunks of one array.

    Attributes:
        dtype: in which the group stores the array.
        file_shape: what a file holds, of all axes.
        chunk_shape: of a chunk; the same, but where the file is a shard.
        sharded: whether the file is a shard, even of one chunk.
        order: of the axes inside a chunk.
        separator: between the numbers of a chunk's key.
        decompress: the bytes of a chunk without its CRC-32C.
    """

    dtype: np.dtype[Any]
    file_shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    sharded: bool
    order: tuple[int, ...]
    separator: str
    decompress: Decompressor

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """The decoder that an array's Zarr metadata asks for.

        Raises:
            ValueError: it asks for something that embevo does not write by itself; zarr may know it.
        """
        grid, keys = metadata["chunk_grid"], metadata["chunk_key_encoding"]
        if grid["name"] != "regular" or keys["name"] != "default":
            raise ValueError(f"chunks are {grid['name']}, called {keys['name']}")
        file_shape = tuple(grid["configuration"]["chunk_shape"])
        codecs, chunk_shape = list(metadata["codecs"]), file_shape
        sharded = codecs[0]["name"] == "sharding_indexed"
        if sharded:
            shard = codecs[0]["configuration"]
            plain_index = [_FROM_BYTES, {"name": "crc32c"}]
            at_end = shard.get("index_location", "end") == "end"
            if (
                len(codecs) > 1
                or [_named(codec) for codec in shard["index_codecs"]] != plain_index
                or not at_end
            ):
                raise ValueError("a shard is itself encoded, or its index is")
            codecs, chunk_shape = list(shard["codecs"]), tuple(shard["chunk_shape"])
        order = tuple(range(len(chunk_shape)))
        if codecs[0]["name"] == "transpose":
            order = tuple(codecs.pop(0)["configuration"]["order"])
        to_bytes, *rest = (_named(codec) for codec in codecs)
        names = [codec["name"] for codec in rest]
        dtype = NUMPY_DTYPES[metadata["data_type"]]
        bytewise = dtype.itemsize == 1 and to_bytes["name"] == "bytes"
        if not (bytewise or to_bytes == _FROM_BYTES) or len(names) != 2 or names[1] != "crc32c":
            raise ValueError(f"a chunk is encoded with {[to_bytes['name'], *names]}")
        if names[0] not in _DECOMPRESSORS:
            raise ValueError(f"a chunk is compressed with {names[0]}")
        if any(size % part for size, part in zip(file_shape, chunk_shape, strict=True)):
            raise ValueError(f"a shard of {file_shape} has chunks of {chunk_shape}")
        separator = keys.get("configuration", {}).get("separator", "/")
        return cls(dtype, file_shape, chunk_shape, sharded, order, separator, _DECOMPRESSORS[names[0]])

    @property
    def chunk_bytes(self) -> int:
        """Of a chunk that is not compressed."""
        return prod(self.chunk_shape) * self.dtype.itemsize

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of a chunk as it lies in its bytes."""
        return tuple(self.chunk_shape[axis] for axis in self.order)

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks a file has along each axis."""
        return tuple(size // part for size, part in zip(self.file_shape, self.chunk_shape, strict=True))

    @property
    def index_bytes(self) -> int:
        """Of the index at the end of a shard; 0 for a file that is a chunk."""
        return 16 * prod(self.grid) + _CRC_BYTES if self.sharded else 0

    def key(self, file: Sequence[int]) -> str:
        """The key of a file, below the array, from its position in the grid of files."""
        return self.separator.join(["c", *map(str, file)])

    def places(self, index: memoryview, length: int) -> NDArray[np.int64]:
        """Where the chunks of a shard are: ``(chunk, 2)`` offsets and lengths in bytes, in C order.

        Of those behind the end of the array, which are not there, the length is 0.

        Args:
            index: the last bytes of the shard.
            length: of the shard.

        Raises:
            ValueError: its CRC-32C is another, or a chunk lies outside.
        """
        table = np.frombuffer(_checked(index), "<u8").reshape(-1, 2).copy()
        table[(table == _NO_CHUNK).all(axis=1)] = 0
        if (table > length).any() or (table.sum(axis=1) > length - self.index_bytes).any():
            raise ValueError("a chunk lies outside of its shard")
        return table.astype(np.int64)

    def decode(self, data: memoryview, out: NDArray[np.uint8], *, proven: bool) -> None:
        """A chunk's values in its stored order, as bytes, into ``out``.

        Args:
            data: of the chunk, its CRC-32C at the end.
            out: contiguous, of :attr:`chunk_bytes`.
            proven: whether the bytes have been compared with what was written; then the CRC-32C is not.

        Raises:
            ValueError, RuntimeError: they are not such a chunk.
        """
        self.decompress(data[:-_CRC_BYTES] if proven else _checked(data), out)


def _named(codec: Mapping[str, Any]) -> dict[str, Any]:
    """A codec without an empty configuration."""
    return {key: value for key, value in codec.items() if value}


def _checked(data: memoryview) -> memoryview:
    """The bytes before their CRC-32C."""
    content, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if len(data) < _CRC_BYTES or google_crc32c.value(bytes(content)) != int.from_bytes(crc, "little"):
        raise ValueError("the CRC-32C is not that of the bytes")
    return content


def _from_blosc(data: memoryview, out: NDArray[np.uint8]) -> None:
    # Blosc believes the lengths in the header of a frame.
    if len(data) < _BLOSC_HEADER_BYTES:
        raise ValueError(f"a Blosc frame of {len(data)} bytes")
    length, _, compressed = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8, 12))
    if length != out.nbytes or compressed != len(data):
        raise ValueError(
            f"a Blosc frame of {compressed} bytes for {length}; {len(data)} for {out.nbytes} were expected"
        )
    Blosc().decode(data, out)


def _from_zstd(data: memoryview, out: NDArray[np.uint8]) -> None:
    decoded = np.frombuffer(Zstd().decode(data), np.uint8)
    if decoded.nbytes != out.nbytes:
        raise ValueError(f"a chunk of {decoded.nbytes} bytes; {out.nbytes} were expected")
    out[...] = decoded


_DECOMPRESSORS: Final[dict[str, Decompressor]] = {
    "blosc": _from_blosc,
    "zstd": _from_zstd,
}
