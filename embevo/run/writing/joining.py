"""The runs of the processes of one training become the rows of the whole run.

Each process writes a run of its own below ``ranks``. Whoever joins them looks at their manifests, and enters
a block in that of the whole once all of them have sealed it: its chunk files are theirs, under a second name
(a hard link) in the group of the whole. Nothing is sent from one process to another, and no array is read.

The order is that of every block: the entry in the manifest, the files, the metadata, and that of the group
last. So whatever a kill leaves, the whole run is a prefix of what every process has sealed.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from embevo.errors import DamagedError, RecordingError
from embevo.run.disk.atomic import PARTIAL, sync_file, write_file
from embevo.run.disk.checksum import Digest, digests
from embevo.run.disk.regular_file import open_regular
from embevo.run.format.layout import Layout
from embevo.run.format.shards import Piece, Shards, joined
from embevo.run.format.steps import describe
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Block
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.writing.part import Part, shown_rows


@dataclass(frozen=True)
class Linked:
    """A chunk file of the whole run.

    Attributes:
        source: the file in the run of a process.
        digest: what that process wrote it as.
    """

    source: Path
    digest: Digest


class Joiner:
    """Adds the blocks that every process has sealed to the whole run; the caller holds its lock.

    Attributes:
        rows: rows of the whole run.
        parts: the runs of the processes that record something, in order of rank.
    """

    def __init__(self, paths: RunPaths, layout: Layout, shards: Shards, *, sync: bool) -> None:
        """Join behind the rows that are there; with ``sync``, what is joined survives a power cut."""
        self._manifest = manifest = Manifest(paths.manifest)
        self.rows = shown_rows(paths, manifest)
        self.parts = [Part(paths, rank, layout.id) for rank in shards.ranks]
        self._paths = paths
        self._layout = layout
        self._shards = shards
        self._appender = ManifestAppender(manifest)
        self._sync = sync
        # Whether the rows that are there are known to be those of the processes.
        self._matches = self.rows == 0

    @property
    def common(self) -> int:
        """Rows that every process had sealed when they were last looked at."""
        return min(part.rows for part in self.parts)

    def join(self) -> int:
        """Take in what all have sealed; returns the rows of the whole run.

        Raises:
            RecordingError: two processes have recorded different steps; what comes before these is joined.
            DamagedError: the manifest of a process is not what was written, or the run of one is not a piece
                of this one, or of an earlier state of it.
            OSError: with the path; what was joined before is untouched.
        """
        for part in self.parts:
            part.look()
        stop = self.common
        size = self._layout.block_steps
        if self.rows < stop and not self._matches:
            self._matches = self._check_last_row()
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
        first = number * self._layout.block_steps
        alike = self._alike(blocks, stop)
        if alike < stop:
            # What all have recorded alike is the last that can be joined.
            if alike > self.rows and not self._join(number, alike):
                return False
            raise RecordingError(self._difference(blocks, alike, stop))
        steps = blocks[0][1].steps[: stop - first]
        files: dict[str, Linked] = {}
        for part, block in blocks:
            files |= files_of_part(self._layout, self._shards, part, block)
        for key, linked in files.items():
            put_beside(self._paths.trajectory / key, linked, sync=self._sync)
        if not all(part.is_last(block) for part, block in blocks):
            return False
        metadata = self._layout.metadata(stop)
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

    def _alike(self, blocks: list[tuple[Part, Block]], stop: int) -> int:
        """The first row up to another one of which not all have recorded the same step."""
        first = blocks[0][1].first
        each = [block.steps[: stop - first] for _, block in blocks]
        rows = zip(range(first, stop), zip(*each, strict=True), strict=True)
        return next((row for row, steps in rows if len(set(steps)) > 1), stop)

    def _difference(self, blocks: list[tuple[Part, Block]], row: int, stop: int) -> str:
        lead, first = blocks[0]
        start = row - first.first
        part, block = next(
            (part, block) for part, block in blocks if block.steps[start] != first.steps[start]
        )
        theirs, others = (each.steps[start : stop - each.first] for each in (first, block))
        return (
            f"{self._paths.root}: from row {row} on, {lead.name} has recorded steps {describe(theirs)}, "
            f"{part.name} {describe(others)}. Every process has to capture the same steps. The first "
            f"{self.rows:,} rows, of which all have the same, are sealed; what each has recorded is in its "
            f"run below {self._paths.ranks}."
        )

    def _check_last_row(self) -> bool:
        """Raise DamagedError unless the last row that is there is that of the processes.

        Returns:
            Whether it could be looked at: not while a file of it is being replaced.
        """
        row = self.rows - 1
        number = row // self._layout.block_steps
        whole = self._manifest.sealed(self.rows)[-1]
        found = [(part, part.block(number, self.rows)) for part in self.parts]
        blocks = [(part, block) for part, block in found if block is not None]
        if len(blocks) < len(found):
            return False
        if joined([block.image_checksum(row) for _, block in blocks]) == whole.image_checksum(row):
            return True
        # Whose files are none of those that were joined; of a run that was changed in place, all are named.
        other = [part.name for part in self.parts if not self._has_joined(part, whole)]
        raise DamagedError(
            f"{self._paths.root}: of step {whole.steps[-1]} the whole run has other values than its "
            f"processes. The run of {' and '.join(other) or 'one of them'} below {self._paths.ranks} is that "
            "of an earlier state of the training, from before it was rewound. Nothing was joined. Put back "
            "the newer one; or move that away: then what all processes had sealed can be recovered and read."
        )

    def _has_joined(self, part: Part, whole: Block) -> bool:
        """Whether a block of the whole has the files of a process."""
        return any(
            all(whole.files.get(key) == linked.digest for key, linked in files.items())
            for files in (
                files_of_part(self._layout, self._shards, part, block)
                for block in part.entries(whole.number, whole.stop)
            )
        )

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


def checksums_of_parts(paths: RunPaths, layout: Layout, shards: Shards, number: int, stop: int) -> list[int]:
    """What the manifest of the whole has for the images of a block; none unless all processes know the block.

    Raises:
        DamagedError: the manifest of a process is not what was written, or it is not a piece of the whole.
    """
    parts = [Part(paths, rank, layout.id) for rank in shards.ranks]
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
