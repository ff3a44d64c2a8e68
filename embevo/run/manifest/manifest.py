"""The append-only list of what was written: one JSON entry a line, each line chained to those before it.

A line is the entry's JSON, a space, and 16 hexadecimal digits: the checksum of the JSON seeded with the
checksum of the line before. A line that was changed, removed or moved breaks the chain. The last line may be
torn by a kill; it is then as if it had not been written.
"""

import errno
import json
import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

from embevo.errors import DamagedError
from embevo.run.disk.atomic import flush
from embevo.run.disk.checksum import checksum
from embevo.run.disk.regular_file import open_regular
from embevo.run.manifest.entry import Entry, check_entry

_SUFFIX: Final = 1 + 16
# Far more than a line has: a block of a million steps would make one of a quarter of that.
LONGEST_LINE: Final = 1 << 26


class Manifest:
    """The entries of one manifest, read in order and kept up with :meth:`refresh`.

    Attributes:
        path: the file.
        entries: all entries read so far, oldest first.
        torn: whether bytes follow the last whole line.
    """

    def __init__(self, path: Path) -> None:
        """Read the manifest.

        Raises:
            FileNotFoundError: there is none.
            DamagedError: a line is not what was written.
        """
        self.path = path
        self.entries: list[Entry] = []
        self.torn = False
        self._end = 0
        self._last = 0
        self.refresh()

    @classmethod
    def create(cls, path: Path, first: Entry, *, sync: bool) -> Self:
        """Start a manifest with its first entry; FileExistsError when there is one that is not empty."""
        path.touch()
        manifest = cls(path)
        if manifest.entries or manifest.torn:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        manifest.append(first, sync=sync)
        return manifest

    def refresh(self) -> None:
        """Read the lines that were appended since."""
        with os.fdopen(open_regular(self.path), "rb") as file:
            file.seek(self._end)
            # One line at a time, so that a file of someone else's making is not taken in whole.
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    if len(line) == LONGEST_LINE:
                        raise self._damaged()
                    break
                text, digits = line[: -_SUFFIX - 1], line[-_SUFFIX - 1 : -1]
                value = checksum(text, self._last)
                if digits != b" %016x" % value:
                    if b"\0\0" in line and not file.read(1):
                        # After a power cut the last line may have its length but not its bytes.
                        break
                    raise self._damaged()
                self.entries.append(self._parse(text))
                self._last = value
                self._end += len(line)
            self.torn = bool(line)

    def _damaged(self) -> DamagedError:
        return DamagedError(
            f"{self.path}: line {len(self.entries) + 1} is not the line that was written, or one "
            "before it is missing. Run embevo recover to rebuild what can be rebuilt."
        )

    def _parse(self, text: bytes) -> Entry:
        try:
            return check_entry(json.loads(text), first=not self.entries)
        except (ValueError, RecursionError) as error:
            raise DamagedError(
                f"{self.path}: line {len(self.entries) + 1} is not one that embevo writes: {error}"
            ) from error

    @property
    def mark(self) -> tuple[int, int]:
        """Names what has been read so far: its length in bytes, and the digits that end its last line."""
        return self._end, self._last

    def begins_with(self, mark: tuple[int, int]) -> bool:
        """Whether the file still begins with what another look at it had read."""
        end, last = mark
        ending = b" %016x\n" % last
        with os.fdopen(open_regular(self.path), "rb") as file:
            file.seek(max(0, end - len(ending)))
            return file.read(len(ending)) == ending

    def knows_metadata(self, digest: list[int | str]) -> bool:
        """Whether the group's metadata has ever been this."""
        return any(entry["metadata"]["zarr.json"] == digest for entry in reversed(self.live()))

    def of_block(self, block: int, stop: int) -> list[Entry]:
        """Every entry of a block that holds at least the rows below ``stop``, oldest first.

        More than one, where a short last block was sealed again longer.
        """
        return [entry for entry in self._blocks().get(block, []) if entry["rows"][1] >= stop]

    def sealed(self, rows: int) -> list[Entry]:
        """The entries that make up the first ``rows`` rows, one a block.

        Raises:
            DamagedError: the manifest does not account for that many rows.
        """
        chosen: list[Entry] = []
        for entries in self._blocks().values():
            fitting = [entry for entry in entries if entry["rows"][1] <= rows]
            if fitting:
                chosen.append(fitting[-1])
        known = chosen[-1]["rows"][1] if chosen else 0
        if (
            known != rows
            or (chosen and chosen[0]["rows"][0])
            or any(a["rows"][1] != b["rows"][0] for a, b in pairwise(chosen))
        ):
            raise DamagedError(
                f"{self.path} accounts for {known} rows, the group's metadata for {rows}. "
                "Run embevo recover to enter what the files themselves prove."
            )
        return chosen

    def live(self) -> list[Entry]:
        """The first entry and those of blocks, without the ones that a rewind has undone."""
        live: list[Entry] = []
        for entry in self.entries:
            if entry["kind"] == "rewound":
                live = [kept for kept in live if kept["kind"] != "block" or kept["rows"][1] <= entry["rows"]]
            else:
                live.append(entry)
        return live

    def _blocks(self) -> dict[int, list[Entry]]:
        blocks: dict[int, list[Entry]] = {}
        for entry in self.live():
            if entry["kind"] == "block":
                blocks.setdefault(entry["block"], []).append(entry)
        return blocks

    def trim(self) -> None:
        """Cut off what a torn write has left behind the last whole line."""
        if self.torn:
            os.truncate(self.path, self._end)
            self.torn = False

    def append(self, entry: Entry, *, sync: bool) -> None:
        """Add an entry with a single write; with ``sync``, have it survive a power cut.

        Raises:
            OSError: with the path; the manifest is then as it was before.
        """
        line, value = _line(entry, self._last)
        try:
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
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self.entries.append(entry)
        self._last = value
        self._end += len(line)
        self.torn = False


def packed(entries: Iterable[Entry]) -> bytes:
    """The bytes of a manifest that holds these entries."""
    lines, last = [], 0
    for entry in entries:
        line, last = _line(entry, last)
        lines.append(line)
    return b"".join(lines)


def _line(entry: Entry, last: int) -> tuple[bytes, int]:
    """The line of an entry behind one with the checksum ``last``, and its own checksum."""
    text = json.dumps(entry, separators=(",", ":")).encode()
    value = checksum(text, last)
    return text + b" %016x\n" % value, value


def image_checksum(entry: Entry, row: int) -> int:
    """The checksum of the image of a row, from the manifest's entry of its block."""
    start = 16 * (row - int(entry["rows"][0]))
    return int(entry["images"][start : start + 16], 16)
