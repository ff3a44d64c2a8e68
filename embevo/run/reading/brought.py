"""A run in object storage: its manifest and metadata are brought at once, its blocks when they are read."""

import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from threading import Lock
from typing import Final

from embevo.errors import DamagedError, NotARunError
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.pieces import TOKENS, TOKENS_PENDING, TRAJECTORY, read_pieces
from embevo.run.disk.atomic import write_file
from embevo.run.disk.checksum import digest
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.manifest.manifest import Manifest
from embevo.run.reading.fetching import fetch_into, forget

MANIFEST: Final = "manifest"
_TRIES: Final = 20
_PAUSE: Final = 0.2


class Brought:
    """The directory into which a run at a URL is brought; it goes when this is not used any more.

    Attributes:
        url: where the run is.
        root: the directory.
    """

    def __init__(self, url: str) -> None:
        """Bring what every reader needs.

        Raises:
            NotARunError: there is no run.
            StorageError: the storage does not answer, or refuses.
            DamagedError: metadata or manifest are not what was written.
        """
        self._bucket = Bucket(url, reads_only=True)
        self.url = self._bucket.url
        self.root = Path(tempfile.mkdtemp(prefix="embevo-")).resolve()
        weakref.finalize(self, _let_go, self.root, os.getpid())
        self._fetcher = _Fetcher(self._bucket, self.root)
        fetch_into(self.root, self._fetcher, self.url)
        self.take_in()

    def take_in(self) -> None:
        """Bring what has been sent since; raises as when it was made."""
        for _ in range(_TRIES):
            # The group first: the manifest, which only grows, then knows it.
            group = self._bucket.get(TRAJECTORY + GROUP_METADATA)
            self._fetcher(MANIFEST, again=True)
            if group is None or not self._fetcher.pieces:
                missing = MANIFEST if group else TRAJECTORY + GROUP_METADATA
                raise NotARunError(f"{self.url} is not a run: there is no {missing}")
            manifest = Manifest(self.root / MANIFEST)
            if manifest.knows_metadata(digest(group.data)):
                break
            time.sleep(_PAUSE)
        else:
            raise DamagedError(f"{self.url}/{TRAJECTORY}{GROUP_METADATA} is none that its manifest knows")
        trajectory = self.root / TRAJECTORY
        trajectory.mkdir(exist_ok=True)
        write_file(trajectory / GROUP_METADATA, group.data, sync=False)
        if manifest.annotated is not None:
            for name in (TOKENS, TOKENS_PENDING):
                stored = self._bucket.get(name)
                if stored is not None and digest(stored.data) == manifest.annotated:
                    write_file(self.root / TOKENS, stored.data, sync=False)
                    break


class _Fetcher:
    """Brings files of a run from a bucket into a directory. Several threads may ask at once.

    Attributes:
        pieces: of the manifest that were brought.
    """

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self.pieces = 0
        self._bucket = bucket
        self._root = root
        self._lock = Lock()

    def __call__(self, name: str, *, again: bool = False) -> None:
        path = self._root / name
        # One lock a file would fetch several at once, and hold as many in memory.
        with self._lock:
            if path.exists() and not again:
                return
            if name == MANIFEST:
                # Behind what is there: whoever has the run open knows it by this file.
                with path.open("ab") as file:
                    for piece in read_pieces(self._bucket, self.pieces):
                        file.write(piece)
                        self.pieces += 1
                return
            stored = self._bucket.get(name)
            if stored is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, stored.data, sync=False)


def _let_go(cache: Path, process: int) -> None:
    if os.getpid() != process:
        # In a forked copy of the process that still reads from there.
        return
    forget(cache)
    shutil.rmtree(cache, ignore_errors=True)
