"""The append-only list of what was written: one JSON entry a line, each line chained to those before it.

A line is the entry's JSON, a space, and 16 hexadecimal digits: the checksum of the JSON seeded with the
checksum of the line before. A line that was changed, removed or moved breaks the chain. The last line may be
torn by a kill; it is then as if it had not been written.
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from embevo.errors import DamagedError
from embevo.run.disk.checksum import Digest, checksum
from embevo.run.disk.regular_file import open_regular
from embevo.run.manifest.entry import Annotated, Block, Compacted, Created, Entry, Rewound
from embevo.run.manifest.parsing import parse_entry

_SUFFIX: Final = 1 + 16
# Far more than a line has: a block of a million steps would make one of a quarter of that.
LONGEST_LINE: Final = 1 << 26


class Manifest:
    """The entries of one manifest, read in order and kept up with :meth:`refresh`.

    Attributes:
        path: the file.
        torn: whether bytes follow the last whole line.
        end: the length of the whole lines, in bytes.
        checksum: of the last of them; 0 while there is none.
        annotated: what ``tokens.json`` was written as, by the last entry that says it; None if there is none.
    """

    def __init__(self, path: Path) -> None:
        """Read the manifest.

        Raises:
            FileNotFoundError: there is none.
            DamagedError: a line is not what was written.
        """
        self.path = path
        self.torn = False
        self.end = 0
        self.checksum = 0
        self.annotated: Digest | None = None
        self._entries: list[Entry] = []
        self._live: list[Block] = []
        self._last: dict[tuple[int, int], Block] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the lines that were appended since."""
        with os.fdopen(open_regular(self.path), "rb") as file:
            file.seek(self.end)
            # One line at a time, so that an untrusted file is not taken in whole.
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    if len(line) == LONGEST_LINE:
                        raise self._damaged()
                    break
                text, digits = line[: -_SUFFIX - 1], line[-_SUFFIX - 1 : -1]
                value = checksum(text, self.checksum)
                if digits != b" %016x" % value:
                    if b"\0\0" in line and not file.read(1):
                        # After a power cut the last line may have its length but not its bytes.
                        break
                    raise self._damaged()
                self._take(self._parse(text))
                self.checksum = value
                self.end += len(line)
            self.torn = bool(line)

    def _damaged(self) -> DamagedError:
        return DamagedError(
            f"{self.path}: line {len(self._entries) + 1} is not the line that was written, or one "
            "before it is missing. Run embevo recover to rebuild what can be rebuilt."
        )

    def _parse(self, text: bytes) -> Entry:
        try:
            return parse_entry(text, first=not self._entries)
        except (ValueError, RecursionError) as error:
            raise DamagedError(
                f"{self.path}: line {len(self._entries) + 1} is not one that embevo writes: {error}"
            ) from error

    def _take(self, entry: Entry) -> None:
        self._entries.append(entry)
        if isinstance(entry, Rewound):
            self._live = [block for block in self._live if block.stop <= entry.rows]
            self._last = {(block.number, block.stop): block for block in self._live}
        elif isinstance(entry, Block):
            self._live.append(entry)
            self._last[entry.number, entry.stop] = entry
        elif isinstance(entry, Compacted) and (entry.number, entry.stop) in self._last:
            self._live.append(self._last[entry.number, entry.stop].with_files(entry))
            self._last[entry.number, entry.stop] = self._live[-1]
        elif isinstance(entry, Annotated):
            self.annotated = entry.file

    @property
    def entries(self) -> Sequence[Entry]:
        """All entries read so far, oldest first."""
        return self._entries

    @property
    def created(self) -> Created:
        """The first entry.

        Raises:
            DamagedError: there is none.
        """
        if not self._entries or not isinstance(self._entries[0], Created):
            raise DamagedError(f"{self.path} is empty: the creation of its run was interrupted")
        return self._entries[0]

    @property
    def blocks(self) -> Sequence[Block]:
        """The entries of blocks that count, oldest first: without those that a rewind has undone.

        A block that was compacted has one more for its smaller files.
        """
        return self._live

    @property
    def live(self) -> list[Created | Block]:
        """The first entry, and those of blocks that count."""
        return [self.created, *self._live]

    @property
    def mark(self) -> tuple[int, int]:
        """Names what has been read so far: its length in bytes, and the checksum of its last line."""
        return self.end, self.checksum

    def begins_with(self, mark: tuple[int, int]) -> bool:
        """Whether the file still begins with what another look at it had read."""
        end, last = mark
        ending = b" %016x\n" % last
        with os.fdopen(open_regular(self.path), "rb") as file:
            file.seek(max(0, end - len(ending)))
            return file.read(len(ending)) == ending

    def knows_metadata(self, digest: Digest) -> bool:
        """Whether the group's metadata has ever been this."""
        return bool(self._entries) and any(entry.group_digest == digest for entry in reversed(self.live))

    def of_block(self, number: int, stop: int) -> list[Block]:
        """Every entry of a block that holds at least the rows below ``stop``, oldest first.

        More than one, where a short last block was sealed again longer, or a block was compacted.
        """
        return [block for block in self._live if block.number == number and block.stop >= stop]

    def digests_of(self, block: Block, key: str) -> list[Digest]:
        """What a file of a block may be: what it was written as, and as what it was compacted."""
        same = [other for other in self.of_block(block.number, block.stop) if other.stop == block.stop]
        return [other.files[key] for other in same]

    def sealed(self, rows: int) -> list[Block]:
        """The entries that make up the first ``rows`` rows, one a block.

        Raises:
            DamagedError: the manifest does not account for that many rows.
        """
        last_of: dict[int, Block] = {}
        for block in self._live:
            if block.stop <= rows:
                last_of[block.number] = block
        chosen = list(last_of.values())
        known = chosen[-1].stop if chosen else 0
        if (
            known != rows
            or (chosen and chosen[0].first)
            or any(a.stop != b.first for a, b in pairwise(chosen))
        ):
            raise DamagedError(
                f"{self.path} accounts for {known} rows, the group's metadata for {rows}. "
                "Run embevo recover to enter what the files themselves prove."
            )
        return chosen
