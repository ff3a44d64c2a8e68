"""Pieces of a large run that were made once, kept in its directory, because making them takes long.

They are kept below the name of what they were made of: a run that has changed since, or another embevo, finds
none of them. Each ends with a checksum, so that one that was damaged is made anew.
"""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, Final, Self

from embevo.analysis.cache import fingerprint
from embevo.analysis.code_digest import code_digest
from embevo.run.disk.atomic import write_file
from embevo.run.disk.checksum import checksum
from embevo.run.paths import RunPaths
from embevo.viewer.opened import OpenedRun

# What decides where places of the same run come out, and how they look.
_MAKING: Final = ("viewer/*.py", "analysis/measures/*.py")
_MOST_BYTES: Final = 8 << 30
_CHECKSUM_BYTES: Final = 8


class KeptPieces:
    """Of one matrix of a complete run."""

    def __init__(self, folder: Path, prefix: str) -> None:
        """Keep them in a folder, which is made with the first one, under names with a prefix.

        Those in the folders beside it were made of another state of the run, and are removed.
        """
        self._folder = folder
        self._prefix = prefix
        self._bytes = 0
        if not folder.parent.is_dir():
            return
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        if folder.is_dir():
            self._bytes = sum(path.stat().st_size for path in folder.iterdir())

    @classmethod
    def of(cls, opened: OpenedRun, how: dict[str, Any]) -> Self:
        """Those of a run, made in some way: whatever in that makes other bytes must be named in it."""
        with opened.reading() as run:
            made_of = _name_of({"code": code_digest(*_MAKING), "run": fingerprint(run)})
        return cls(RunPaths(opened.path).viewer / made_of, _name_of({"matrix": opened.matrix, **how}))

    def get(self, name: str) -> bytes | None:
        """What was kept under a name; None if nothing is there, or not what was written."""
        try:
            held = self._path(name).read_bytes()
        except OSError:
            return None
        data, told = held[:-_CHECKSUM_BYTES], held[-_CHECKSUM_BYTES:]
        return data if told == _told(data) else None

    def put(self, name: str, data: bytes) -> None:
        """Keep something, where there is room and it may be written: it could be made anew."""
        if self._bytes + len(data) > _MOST_BYTES:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self._path(name), data + _told(data), sync=False)
            self._bytes += len(data) + _CHECKSUM_BYTES

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._prefix}-{name}"


def _name_of(parts: dict[str, Any]) -> str:
    return f"{checksum(json.dumps(parts, sort_keys=True).encode()):016x}"


def _told(data: bytes) -> bytes:
    return checksum(data).to_bytes(_CHECKSUM_BYTES, "little")
