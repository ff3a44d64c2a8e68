"""The one checksum of the run's own files: XXH3 with 64 bits."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import xxhash

from embevo.errors import DamagedError
from embevo.run.disk.regular_file import open_regular

_PIECE: Final = 1 << 20


class Digest(NamedTuple):
    """What the manifest has of a file; ``[length, checksum]`` in JSON.

    Attributes:
        length: in bytes.
        checksum: 16 hexadecimal digits; empty where a file was not read, and equals nothing that was written.
    """

    length: int
    checksum: str


def checksum(data: bytes | memoryview, seed: int = 0) -> int:
    """XXH3-64 of contiguous bytes; 0 is mapped to 1, so that 0 can mean "not computed yet"."""
    return xxhash.xxh3_64_intdigest(data, seed) or 1


def digest(data: bytes | memoryview) -> Digest:
    """Length and checksum of the bytes of a file."""
    return Digest(len(data), f"{checksum(data):016x}")


def file_digest(path: Path, longest: int) -> Digest | None:
    """The :func:`digest` of a file; None when there is no file.

    One that is longer than the longest that was written, or not a regular file, is not read; it has no
    checksum then, and equals nothing.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    except DamagedError:
        return Digest(0, "")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        if size > longest:
            return Digest(size, "")
        state = xxhash.xxh3_64()
        length = 0
        while piece := file.read(_PIECE):
            state.update(piece)
            length += len(piece)
    return Digest(length, f"{state.intdigest() or 1:016x}")


def digests(files: Mapping[str, bytes | memoryview]) -> dict[str, Digest]:
    """The :func:`digest` of each of some files, by name."""
    return {key: digest(data) for key, data in files.items()}
