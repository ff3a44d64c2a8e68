"""The files of a block in fewer bytes: each compressed piece is taken out, and compressed with more effort.

What a piece decodes to is the same afterwards, bit for bit, and so are its place, the metadata and the codecs
that a reader is told: Blosc's and Zstandard's frames say themselves how they were made.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd

from embevo.errors import DamagedError
from embevo.run.limits import threads_worth_having

_CRC_BYTES: Final = 4
# An offset and a length, for each chunk of a shard.
_INDEX_ENTRY_BYTES: Final = 16
_NO_CHUNK: Final = 2**64 - 1
# Blosc's highest level is Zstandard's 22. Which shuffle is the better one for a chunk is told at a level that
# is fifty times as fast.
_LEVEL: Final = 9
_TRIAL_LEVEL: Final = 3
_ZSTD_LEVEL: Final = 22
_SHUFFLES: Final = (Blosc.SHUFFLE, Blosc.BITSHUFFLE, Blosc.NOSHUFFLE)


def recompressed(metadata: Mapping[str, Any], file: bytes) -> bytes:
    """A file of an array with each of its chunks in the fewest bytes; what would grow stays as it is.

    Args:
        metadata: the array's Zarr metadata, such as embevo writes it.
        file: of a block: a chunk, or a shard of chunks.

    Raises:
        DamagedError: a chunk does not have its CRC-32C, or cannot be decoded.
    """
    codecs, pieces = _taken_apart(metadata, file)
    is_vector = codecs[1]["name"] == "zstd"
    itemsize = np.dtype("u2" if metadata["data_type"] == "bfloat16" else metadata["data_type"]).itemsize
    work = [piece for piece in pieces if piece is not None]

    def smaller(frame: bytes) -> bytes:
        return _smaller_vector(frame) if is_vector else _smaller_chunk(frame, itemsize)

    with ThreadPoolExecutor(max(1, min(len(work), threads_worth_having()))) as pool:
        made = pool.map(smaller, work)
        return _put_together(metadata, [None if piece is None else next(made) for piece in pieces])


def _taken_apart(
    metadata: Mapping[str, Any], file: bytes
) -> tuple[list[Mapping[str, Any]], list[bytes | None]]:
    """The codecs of a chunk, and the compressed chunks of a file without their CRC-32C; None for no chunk."""
    codecs = metadata["codecs"]
    if codecs[0]["name"] != "sharding_indexed":
        return codecs, [_checked(file)]
    shard = codecs[0]["configuration"]
    outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    count = int(np.prod([whole // part for whole, part in zip(outer, shard["chunk_shape"], strict=True)]))
    index = np.frombuffer(_checked(file[-count * _INDEX_ENTRY_BYTES - _CRC_BYTES :]), "<u8").reshape(-1, 2)
    if len(index) != count:
        raise DamagedError("the index of the shard is cut short")
    places = index.tolist()
    return shard["codecs"], [
        None if offset == _NO_CHUNK else _checked(file[offset : offset + length]) for offset, length in places
    ]


def _put_together(metadata: Mapping[str, Any], pieces: list[bytes | None]) -> bytes:
    """The inverse of :func:`_taken_apart`."""
    parts: list[bytes] = []
    index = np.full((len(pieces), 2), _NO_CHUNK, "<u8")
    offset = 0
    for place, piece in enumerate(pieces):
        if piece is not None:
            parts.append(piece + _crc32c(piece))
            index[place] = offset, len(parts[-1])
            offset += len(parts[-1])
    if metadata["codecs"][0]["name"] == "sharding_indexed":
        where = index.tobytes()
        parts.append(where + _crc32c(where))
    return b"".join(parts)


def _checked(data: bytes) -> bytes:
    """Bytes without the CRC-32C behind them."""
    kept = data[:-_CRC_BYTES]
    if data[-_CRC_BYTES:] != _crc32c(kept):
        raise DamagedError("a chunk does not have the CRC-32C that was written behind it")
    return kept


def _crc32c(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little")


def _smaller_vector(frame: bytes) -> bytes:
    codec = Zstd(_ZSTD_LEVEL)
    raw = _decoded(codec, frame)
    made: bytes = codec.encode(raw)
    return _proven(codec, raw, made, frame)


def _smaller_chunk(frame: bytes, itemsize: int) -> bytes:
    raw = _decoded(Blosc(), frame)
    values = np.frombuffer(raw, f"u{itemsize}")

    def encoded(level: int, shuffle: int) -> bytes:
        made: bytes = Blosc("zstd", level, shuffle, len(raw)).encode(values)
        return made

    # Of equals the first: the same values give the same bytes.
    shuffle = min(_SHUFFLES, key=lambda shuffle: len(encoded(_TRIAL_LEVEL, shuffle)))
    return _proven(Blosc(), raw, encoded(_LEVEL, shuffle), frame)


def _decoded(codec: Any, frame: bytes) -> bytes:
    try:
        return bytes(codec.decode(frame))
    except (RuntimeError, ValueError) as error:
        raise DamagedError(f"a chunk cannot be decoded: {error}") from error


def _proven(codec: Any, raw: bytes, made: bytes, frame: bytes) -> bytes:
    """The new frame, where it is the smaller one and gives back every byte."""
    return made if len(made) < len(frame) and bytes(codec.decode(made)) == raw else frame
