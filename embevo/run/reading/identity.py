"""Whether what lies at a path is still the run that was opened there."""

import contextlib
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

from embevo.errors import EmbevoError, RunReplacedError
from embevo.run.disk.regular_file import open_regular


class OpenedRun:
    """Knows a run by the file of its manifest, which is appended to and never written anew while it is read.

    Recording over a run moves the old manifest away before anything of the new run is put in its place, and
    the new manifest comes last. So whatever was read belongs to the run that was opened, if its manifest is
    still there afterwards.
    """

    def __init__(self, manifest: Path) -> None:
        """Take the manifest that is there now.

        Raises:
            FileNotFoundError: there is none.
            DamagedError: it is not a regular file.
        """
        self._manifest = manifest
        # Kept open, so that no other file gets the same number while this one is known by it.
        descriptor = open_regular(manifest)
        weakref.finalize(self, os.close, descriptor)
        status = os.fstat(descriptor)
        self._file = (status.st_dev, status.st_ino)

    def check(self) -> None:
        """Raise RunReplacedError unless the manifest is still the one that was opened."""
        root = self._manifest.parent
        try:
            status = self._manifest.stat()
        except OSError as error:
            raise RunReplacedError(
                f"{root} is not the run any more that was opened: its manifest is gone. It was moved or "
                "deleted since, or another run is being recorded in its place."
            ) from error
        if (status.st_dev, status.st_ino) != self._file:
            raise RunReplacedError(
                f"{root} was replaced by another run recorded since, or its manifest was rebuilt; open it "
                f"again with open_run({str(root)!r})."
            )

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Guard the reading in the body: RunReplacedError if that may have got something of another run.

        An error of the body is explained by the replacement where there was one.
        """
        try:
            yield
        except (EmbevoError, OSError):
            self.check()
            raise
        self.check()
