"""A run in object storage: its manifest and metadata are brought at once, its blocks when they are read."""

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
        self._bucket = Bucket(url)
        self.url = self._bucket.url
        self.root = Path(tempfile.mkdtemp(prefix="embevo-")).resolve()
        weakref.finalize(self, _let_go, self.root)
        fetch_into(self.root, _Fetcher(self._bucket, self.root), self.url)
        self._pieces = 0
        self.take_in()

    def take_in(self) -> None:
        """Bring what has been sent since; raises as when it was made."""
        path = self.root / "manifest"
        for _ in range(_TRIES):
            # The group first: the manifest, which only grows, then knows it.
            group = self._bucket.get(TRAJECTORY + GROUP_METADATA)
            pieces = read_pieces(self._bucket, self._pieces)
            if group is None or not (pieces or self._pieces):
                missing = "manifest" if group else TRAJECTORY + GROUP_METADATA
                raise NotARunError(f"{self.url} is not a run: there is no {missing}")
            # Behind what is there: whoever has the run open knows it by this file.
            with path.open("ab") as file:
                file.writelines(pieces)
            self._pieces += len(pieces)
            manifest = Manifest(path)
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
    """Brings files of a run from a bucket into a directory. Several threads may ask at once."""

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket = bucket
        self._root = root
        self._lock = Lock()

    def __call__(self, name: str, *, again: bool = False) -> None:
        path = self._root / name
        # One lock a file would fetch several at once, and hold as many in memory.
        with self._lock:
            if path.exists() and not again:
                return
            stored = self._bucket.get(name)
            if stored is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, stored.data, sync=False)


def _let_go(cache: Path) -> None:
    forget(cache)
    shutil.rmtree(cache, ignore_errors=True)
