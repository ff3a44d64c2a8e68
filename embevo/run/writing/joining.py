"""The runs of the processes of one training become the rows of the whole run.

Each process writes a run of its own below ``ranks``. Whoever joins them looks at their manifests, and enters
a block in that of the whole once all of them have sealed it: its chunk files are theirs, under a second name
(a hard link) in the group of the whole. Nothing is sent from one process to another, and no array is read.

The order is that of every block: the entry in the manifest, the files, the metadata, and that of the group
last. So whatever a kill leaves, the whole run is a prefix of what every process has sealed.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embevo.errors import DamagedError, RecordingError
from embevo.run.disk.atomic import PARTIAL, sync_file, write_file
from embevo.run.disk.checksum import Digest, digests, file_digest
from embevo.run.disk.regular_file import open_regular
from embevo.run.format.layout import GROUP_METADATA, Layout
from embevo.run.format.shards import Piece, Shards, joined
from embevo.run.format.steps import describe
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Block
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths


@dataclass(frozen=True)
class Linked:
    """A chunk file of the whole run.

    Attributes:
        source: the file in the run of a process.
        digest: what that process wrote it as.
    """

    source: Path
    digest: Digest


class Part:
    """The run of one process, as far as it is sealed.

    Attributes:
        rank: the process.
        rows: rows below this one are in its group.
        host: where it was begun.
    """

    def __init__(self, paths: RunPaths, rank: int) -> None:
        """Look at the run of a process; it may not be there yet."""
        self.rank = rank
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
        """Take in what was sealed since; DamagedError where its manifest is not what was written."""
        if self._manifest is None:
            try:
                self._manifest = Manifest(self._paths.manifest)
            except FileNotFoundError:
                return
            self.host = _host(self._manifest.created.group)
        else:
            self._manifest.refresh()
        entries = self._manifest.live
        if self._manifest.end == self._seen and self.rows == entries[-1].stop:
            return
        self.rows = shown_rows(self._paths, self._manifest)
        self._seen = self._manifest.end

    def block(self, number: int, stop: int) -> Block | None:
        """The entry whose files are in place, of a block that holds the rows below ``stop``."""
        of_block = [] if self._manifest is None else self._manifest.of_block(number, stop)
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


class Joiner:
    """Adds the blocks that every process has sealed to the whole run; the caller holds its lock.

    Attributes:
        rows: rows of the whole run.
        parts: the runs of the processes that record something, in order of rank.
    """

    def __init__(self, paths: RunPaths, layout: Layout, shards: Shards, *, sync: bool) -> None:
        """Join behind the rows that are there; with ``sync``, what is joined survives a power cut."""
        manifest = Manifest(paths.manifest)
        self.rows = shown_rows(paths, manifest)
        self.parts = [Part(paths, rank) for rank in shards.ranks]
        self._paths = paths
        self._layout = layout
        self._shards = shards
        self._appender = ManifestAppender(manifest)
        self._sync = sync

    @property
    def common(self) -> int:
        """Rows that every process had sealed when they were last looked at."""
        return min(part.rows for part in self.parts)

    def join(self) -> int:
        """Take in what all have sealed; returns the rows of the whole run.

        Raises:
            RecordingError: two processes have recorded different steps.
            DamagedError: the manifest of a process is not what was written.
            OSError: with the path; what was joined before is untouched.
        """
        for part in self.parts:
            part.look()
        stop = self.common
        size = self._layout.block_steps
        while self.rows < stop:
            number = self.rows // size
            if not self._join(number, min(stop, (number + 1) * size)):
                break
        return self.rows

    def _join(self, number: int, stop: int) -> bool:
        """Take in a block up to a row; False where one of its files is being replaced right now."""
        found = [(part, part.block(number, stop)) for part in self.parts]
        blocks = [(part, block) for part, block in found if block is not None]
        if len(blocks) < len(found):
            return False
        steps = self._steps(blocks, stop)
        files: dict[str, Linked] = {}
        for part, block in blocks:
            files |= files_of_part(self._layout, self._shards, part, block)
        for key, linked in files.items():
            put_beside(self._paths.trajectory / key, linked, sync=self._sync)
        if not all(part.is_last(block) for part, block in blocks):
            return False
        metadata = self._layout.metadata(stop)
        first = number * self._layout.block_steps
        entry = Block.of(
            number,
            first,
            steps,
            files={key: linked.digest for key, linked in files.items()},
            metadata=digests(metadata),
            images=[joined([block.image_checksum(row) for _, block in blocks]) for row in range(first, stop)],
        )
        if self._appender.last != entry:
            self._appender.append(entry, sync=self._sync)
        for key in files:
            path = self._paths.trajectory / key
            move_up(path)
        if self._sync:
            for directory in {(self._paths.trajectory / key).parent for key in files}:
                sync_file(directory)
        for key, data in metadata.items():
            write_file(self._paths.trajectory / key, data, sync=self._sync)
        self.rows = stop
        return True

    def _steps(self, blocks: list[tuple[Part, Block]], stop: int) -> list[int]:
        lead, first = blocks[0]
        count = stop - first.first
        steps = first.steps[:count]
        for part, block in blocks[1:]:
            if block.steps[:count] != steps:
                raise RecordingError(
                    f"{self._paths.root}: in rows {first.first} to {stop - 1}, {lead.name} has recorded "
                    f"steps {describe(steps)}, {part.name} {describe(block.steps[:count])}. Every process "
                    "has to capture the same steps. What each has recorded is in its run below "
                    f"{self._paths.ranks}; the first {self.rows} rows of the whole are sealed."
                )
        return steps

    def ahead(self) -> list[str]:
        """What processes have sealed that others have not, for people: a line for each process."""
        return [
            f"{part.name} had {part.rows - self.rows} more steps: {describe(part.steps[self.rows :])}"
            for part in self.parts
            if part.rows > self.rows
        ]

    def missing(self) -> list[str]:
        """The processes that have no run."""
        return [part.name for part in self.parts if not part.is_there]


def shown_rows(paths: RunPaths, manifest: Manifest) -> int:
    """The rows that the group shows; an entry beyond them is an intention, whose files may not be there."""
    entries = manifest.live
    longest = max(entry.group_digest.length for entry in entries)
    group = file_digest(paths.trajectory / GROUP_METADATA, longest)
    return next((entry.stop for entry in reversed(entries) if entry.group_digest == group), 0)


def checksums_of_parts(paths: RunPaths, shards: Shards, number: int, stop: int) -> list[int]:
    """What the manifest of the whole has for the images of a block; none unless all processes know the block.

    Raises:
        DamagedError: the manifest of a process is not what was written.
    """
    parts = [Part(paths, rank) for rank in shards.ranks]
    for part in parts:
        part.look()
    blocks = [part.block(number, stop) for part in parts]
    known = [block for block in blocks if block is not None]
    if len(known) < len(blocks):
        return []
    return [joined([block.image_checksum(row) for block in known]) for row in range(known[0].first, stop)]


def files_of_part(layout: Layout, shards: Shards, part: Part, block: Block) -> dict[str, Linked]:
    """The chunk files that one process has of a block, by their keys in the whole run."""
    mine = shards.of(part.rank)
    found = {}
    for key, written in block.files.items():
        name, _, chunk = key.partition("/")
        if name in mine:
            found[f"{name}/{_moved(layout, name, mine[name], chunk)}"] = Linked(part.path(key), written)
        elif part.rank == shards.lead:
            found[key] = Linked(part.path(key), written)
    return found


def _moved(layout: Layout, name: str, piece: Piece, chunk: str) -> str:
    """The name in the whole array of a chunk file of a piece."""
    _, block, *places = chunk.split(".")
    sizes = layout.arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][1:]
    moved = [
        str(int(place) + start // size) for place, start, size in zip(places, piece.start, sizes, strict=True)
    ]
    return ".".join(["c", block, *moved])


def put_beside(path: Path, linked: Linked, *, sync: bool) -> None:
    """Have a file of a process also under the partial name of one of the whole run."""
    partial = beside(path)
    partial.unlink(missing_ok=True)
    try:
        os.link(linked.source, partial, follow_symlinks=False)
    except FileNotFoundError as error:
        raise DamagedError(f"{linked.source} is missing, which its manifest names") from error
    except OSError:
        # A file system without hard links, or one that has no more of them for this file.
        _copy(linked.source, partial)
    if sync:
        sync_file(partial)


def move_up(path: Path) -> None:
    """Have a file that was put beside in its place."""
    beside(path).replace(path)
    # Renaming one name of a file to another one of the same file does nothing.
    beside(path).unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """The name of a file that is on its way into its place."""
    return path.with_name(path.name + PARTIAL)


def _copy(source: Path, target: Path) -> None:
    try:
        with os.fdopen(open_regular(source), "rb") as original, target.open("wb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _host(group: Mapping[str, Any]) -> str:
    own = group.get("attributes", {}).get("embevo", {})
    part = own.get("part") if isinstance(own, Mapping) else None
    return str(part.get("host", "")) if isinstance(part, Mapping) else ""
