"""Writing the manifest: entries are only ever added behind the last one."""

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from embevo.run.disk.atomic import flush
from embevo.run.disk.checksum import checksum
from embevo.run.disk.named_errors import naming
from embevo.run.disk.regular_file import open_regular
from embevo.run.manifest.entry import Entry, to_json
from embevo.run.manifest.manifest import Manifest


class ManifestAppender:
    """The one writer of a manifest. It keeps the last entry alone: memory does not grow with the run.

    A :class:`Manifest` of the same file learns of what was appended when it is refreshed.

    Attributes:
        path: the file.
        last: the last entry; None while there is none.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Go on behind the last whole line of a manifest as it was read."""
        self.path = manifest.path
        self.last: Entry | None = manifest.entries[-1] if manifest.entries else None
        self._end = manifest.end
        self._checksum = manifest.checksum

    @classmethod
    def create(cls, path: Path, first: Entry, *, sync: bool) -> Self:
        """Start a manifest with its first entry; FileExistsError when there is one that is not empty."""
        path.touch()
        manifest = Manifest(path)
        if manifest.entries or manifest.torn:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        appender = cls(manifest)
        appender.append(first, sync=sync)
        return appender

    def trim(self) -> None:
        """Cut off what a torn write has left behind the last whole line."""
        if self.path.stat().st_size > self._end:
            os.truncate(self.path, self._end)

    def append(self, entry: Entry, *, sync: bool) -> None:
        """Add an entry with a single write; with ``sync``, have it survive a power cut.

        Raises:
            OSError: with the path; the manifest is then as it was before.
        """
        line, value = _line(entry, self._checksum)
        with naming(self.path):
            descriptor = open_regular(self.path, writable=True)
            try:
                # What a torn write has left is cut off rather than written behind.
                os.ftruncate(descriptor, self._end)
                written = 0
                while written < len(line):
                    written += os.pwrite(descriptor, line[written:], self._end + written)
                if sync:
                    flush(descriptor)
            except OSError:
                os.ftruncate(descriptor, self._end)
                raise
            finally:
                os.close(descriptor)
        self.last = entry
        self._checksum = value
        self._end += len(line)


def packed(entries: Iterable[Entry]) -> bytes:
    """The bytes of a manifest that holds these entries."""
    lines, last = [], 0
    for entry in entries:
        line, last = _line(entry, last)
        lines.append(line)
    return b"".join(lines)


def _line(entry: Entry, last: int) -> tuple[bytes, int]:
    """The line of an entry behind one with the checksum ``last``, and its own checksum."""
    text = json.dumps(to_json(entry), separators=(",", ":")).encode()
    value = checksum(text, last)
    return text + b" %016x\n" % value, value
