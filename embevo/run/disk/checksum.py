"""The one checksum of the run's own files: XXH3 with 64 bits."""

import os
from pathlib import Path
from typing import Final

import xxhash

from embevo.errors import DamagedError
from embevo.run.disk.regular_file import open_regular

_PIECE: Final = 1 << 20


def checksum(data: bytes | memoryview, seed: int = 0) -> int:
    """XXH3-64 of contiguous bytes; 0 is mapped to 1, so that 0 can mean "not computed yet"."""
    return xxhash.xxh3_64_intdigest(data, seed) or 1


def digest(data: bytes | memoryview) -> list[int | str]:
    """``[length in bytes, checksum]`` as the manifest has it."""
    return [len(data), f"{checksum(data):016x}"]


def file_digest(path: Path, longest: int) -> list[int | str] | None:
    """The :func:`digest` of a file; None when there is no file.

    One that is longer than the longest that was written, or not a regular file, is not read; it has no
    checksum then, and equals nothing.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    except DamagedError:
        return [0, ""]
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        if size > longest:
            return [size, ""]
        state = xxhash.xxh3_64()
        length = 0
        while piece := file.read(_PIECE):
            state.update(piece)
            length += len(piece)
    return [length, f"{state.intdigest() or 1:016x}"]


def digests(files: dict[str, bytes]) -> dict[str, list[int | str]]:
    """``{name: [length in bytes, checksum]}``."""
    return {key: digest(data) for key, data in files.items()}
