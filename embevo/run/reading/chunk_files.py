"""The chunk files of sealed rows: compared with the manifest before anything in them is believed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, Protocol

from embevo.errors import DamagedError
from embevo.run.disk.checksum import Digest, digest
from embevo.run.disk.regular_file import open_regular, read_regular
from embevo.run.format.steps import describe
from embevo.run.manifest.damage import why_damaged
from embevo.run.manifest.entry import Block, Created
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.fetching import fetcher_of, url_of

REPAIR: Final = "embevo verify --deep lists all damage; embevo recover rebuilds what can be rebuilt."
SEND_AGAIN: Final = "Delete it there, and embevo push sends it again from where the run is."


class Contents(Protocol):
    """The bytes of one file."""

    @property
    def length(self) -> int:
        """Of the file."""

    @property
    def proven(self) -> bool:
        """Whether the bytes have just been compared with what was written."""

    def read(self, start: int, length: int) -> memoryview:
        """Bytes from a position on; fewer where the file ends."""

    def close(self) -> None:
        """Let go of them."""


@dataclass
class _InMemory:
    data: bytes
    proven: bool

    @property
    def length(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> memoryview:
        return memoryview(self.data)[start : start + length]

    def close(self) -> None:
        self.data = b""


@dataclass
class _OnDisk:
    """A file of which only parts are wanted; it was compared before, and its chunks have checksums."""

    descriptor: int
    proven: bool = False

    @property
    def length(self) -> int:
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, length: int) -> memoryview:
        return memoryview(os.pread(self.descriptor, length, start))

    def close(self) -> None:
        os.close(self.descriptor)


class ChunkFiles:
    """Opens the files of a run's arrays. Several threads may do so at once."""

    def __init__(self, paths: RunPaths, manifest: Manifest) -> None:
        """Of the run at these paths."""
        self._paths = paths
        self._manifest = manifest
        self._lock = Lock()
        self._compared: set[tuple[str, int]] = set()
        self._fetch = fetcher_of(paths.root)

    def check(self, entries: Sequence[Created | Block], name: str) -> None:
        """Compare the files of an array with the manifest, each once for every length it has had.

        Raises:
            DamagedError: one is missing, or not what was written.
        """
        for entry in entries:
            for key in entry.files:
                if key.partition("/")[0] == name and (key, entry.stop) not in self._compared:
                    self._check(entry, key)
                    self._compared.add((key, entry.stop))

    def contents(self, entry: Created | Block, key: str, *, parts: bool) -> Contents:
        """A file, compared with the manifest once for every length it has had.

        Args:
            entry: that names it.
            key: of it.
            parts: whether only some of it is needed, if it has been compared before.

        Raises:
            DamagedError: it is missing, or not what was written.
        """
        for _ in range(2):
            found = self._contents(entry, key, parts=parts)
            if found is not None:
                return found
            # A short last block may have been sealed longer since.
            self._check(entry, key)
        raise self.damaged(entry, key, "changes while it is read")

    def damaged(self, entry: Created | Block, key: str, what: str) -> DamagedError:
        """What to raise of a file, naming its block and the steps in it."""
        where = ""
        if isinstance(entry, Block):
            where = f" (block {entry.number}, steps {describe(entry.steps)})"
        url = url_of(self._paths.root)
        if url:
            return DamagedError(f"{url}/{self._paths.trajectory.name}/{key}{where} {what}. {SEND_AGAIN}")
        return DamagedError(f"{self._paths.trajectory / key}{where} {what}. {REPAIR}")

    def _contents(self, entry: Created | Block, key: str, *, parts: bool) -> Contents | None:
        """A file that is one of those that were written; None for any other."""
        path = self._paths.trajectory / key
        self._fetch(f"{self._paths.trajectory.name}/{key}")
        compared = (key, entry.stop) in self._compared
        written = self._written(entry, key)
        try:
            if compared and parts:
                return _OnDisk(open_regular(path))
            data = read_regular(path, max(each.length for each in written))
        except (FileNotFoundError, DamagedError):
            return None
        if not compared:
            if digest(data) not in written:
                return None
            self._compared.add((key, entry.stop))
        return _InMemory(data, not compared)

    def _written(self, entry: Created | Block, key: str) -> list[Digest]:
        if not isinstance(entry, Block):
            return [entry.files[key]]
        with self._lock:
            later = self._manifest.of_block(entry.number, entry.stop)
        return [entry.files[key], *(other.files[key] for other in later)]

    def _check(self, entry: Created | Block, key: str) -> None:
        name = f"{self._paths.trajectory.name}/{key}"
        self._fetch(name)
        with self._lock:
            if not why_damaged(self._paths, self._manifest, entry, key):
                return
            # A short last block may have been sealed longer since, or the block compacted. The file first:
            # what takes another's place is in the manifest before it is there.
            self._fetch(name, again=True)
            self._fetch(self._paths.manifest.name, again=True)
            self._manifest.refresh()
            wrong = why_damaged(self._paths, self._manifest, entry, key)
        if wrong:
            raise self.damaged(entry, key, wrong)
