"""The run of one process below a whole run, as the joining sees it: what is sealed of it, by its manifest."""

from pathlib import Path

from embevo.run.disk.checksum import file_digest
from embevo.run.format.belonging import check_belongs, host_of
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.manifest.entry import Block
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths


class Part:
    """The run of one process, as far as it is sealed.

    Attributes:
        rank: the process.
        rows: rows below this one are in its group.
        host: where it was begun.
    """

    def __init__(self, paths: RunPaths, rank: int, whole: str) -> None:
        """Look at the run of a process of the whole run with an ID; it may not be there yet."""
        self.rank = rank
        self._whole = whole
        self.rows = 0
        self.host = ""
        self._paths = paths.rank(rank)
        self._manifest: Manifest | None = None
        self._seen = -1

    @property
    def name(self) -> str:
        """For messages: ``rank 3 on node7``."""
        return f"rank {self.rank} on {self.host}" if self.host else f"rank {self.rank}"

    @property
    def is_there(self) -> bool:
        """Whether it has a run."""
        return self._manifest is not None

    def look(self) -> None:
        """Take in what was sealed since.

        Raises:
            DamagedError: its manifest is not what was written, or it is not a piece of the whole run.
        """
        if self._manifest is None:
            try:
                manifest = Manifest(self._paths.manifest)
            except FileNotFoundError:
                return
            attributes = manifest.created.group.get("attributes")
            check_belongs(attributes, rank=self.rank, whole=self._whole, path=self._paths.root)
            self._manifest, self.host = manifest, host_of(attributes)
        else:
            self._manifest.refresh()
        entries = self._manifest.live
        if self._manifest.end == self._seen and self.rows == entries[-1].stop:
            return
        self.rows = shown_rows(self._paths, self._manifest)
        self._seen = self._manifest.end

    def entries(self, number: int, stop: int) -> list[Block]:
        """All entries of a block that hold the rows below ``stop``, oldest first."""
        return [] if self._manifest is None else self._manifest.of_block(number, stop)

    def block(self, number: int, stop: int) -> Block | None:
        """The entry whose files are in place, of a block that holds the rows below ``stop``."""
        of_block = self.entries(number, stop)
        return next((block for block in reversed(of_block) if block.stop <= self.rows), None)

    def is_last(self, block: Block) -> bool:
        """Whether no longer block of this number was begun, whose files take the place of these."""
        if self._manifest is None:
            return False
        self._manifest.refresh()
        return self._manifest.of_block(block.number, block.stop)[-1] == block

    @property
    def steps(self) -> list[int]:
        """The steps of the rows that are sealed."""
        blocks = [] if self._manifest is None else self._manifest.sealed(self.rows)
        return [step for block in blocks for step in block.steps]

    def path(self, key: str) -> Path:
        """A chunk file, by its key in the run of the process."""
        return self._paths.trajectory / key


def shown_rows(paths: RunPaths, manifest: Manifest) -> int:
    """The rows that the group shows; an entry beyond them is an intention, whose files may not be there."""
    entries = manifest.live
    longest = max(entry.group_digest.length for entry in entries)
    group = file_digest(paths.trajectory / GROUP_METADATA, longest)
    return next((entry.stop for entry in reversed(entries) if entry.group_digest == group), 0)
