"""compact(): make the blocks of a run as small as they get, in place, one after the other.

No value changes, no array, no metadata: only how hard each chunk is compressed. So a reader that has the run
open goes on reading, and a run that was half done when its process died is a run in order. A block is written
in the usual order, its entry in the manifest first: whichever of its files a kill leaves in place, of before
or of after, the manifest knows it.
"""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embevo.errors import ArgumentError, DamagedError, RecordingError
from embevo.run.disk.atomic import PARTIAL, write_file
from embevo.run.disk.checksum import digest, digests
from embevo.run.disk.lock import lock_run
from embevo.run.disk.regular_file import links_among, open_regular, read_regular, through_link
from embevo.run.format.effort import FRAME_HEAD, Effort, effort_of
from embevo.run.format.layout import Layout
from embevo.run.format.recompressing import recompressed
from embevo.run.format.steps import describe_ranges
from embevo.run.journal.place import is_interrupted
from embevo.run.limits import disk_room
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.damage import damaged_files, difference
from embevo.run.manifest.entry import Block, Compacted
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.chunk_files import REPAIR
from embevo.run.reading.reader import Run
from embevo.run.repair.ranks import refuse_pieces
from embevo.run.repair.recovery import recover_to_write

# Of the files of one array that were made with one effort, spread over the run, at most; and how many such
# groups of equal size get as many. A small group gets one.
_SAMPLED_FILES: Final = 4
_SAMPLED_WHOLE: Final = 4
# What an entry of the manifest has beside its files, and for each of them.
_ENTRY_BYTES: Final = 200
_SHOWN: Final = 5


@dataclass(frozen=True)
class Compaction:
    """What :func:`compact` has done.

    Attributes:
        path: the run.
        rows: of its blocks.
        compacted: how many of these rows were made smaller now; the others were before.
        before: bytes of all chunk files along ``step`` before.
        after: and after.
    """

    path: Path
    rows: int
    compacted: int
    before: int
    after: int


@dataclass(frozen=True)
class CompactionEstimate:
    """What :func:`compact` would save, from files that were really compressed.

    Attributes:
        path: the run.
        rows: of the blocks that are not as small as they get yet.
        unsealed: rows that wait in the journal, of which no file tells anything yet.
        sampled: files that were compressed for this.
        files: files of matrices that are not as small as they get.
        before: bytes of all chunk files along ``step``.
        after: bytes of them that are to be expected.
    """

    path: Path
    rows: int
    unsealed: int
    sampled: int
    files: int
    before: int
    after: int


def compact(path: PathLike, *, on_rows: Callable[[int, int], None] | None = None) -> Compaction:
    """Compress what a run holds in its blocks as hard as the codecs that it was recorded with can.

    Values, arrays and metadata stay what they are, and so does everything else in the run. What was compacted
    before is passed over; a run that was interrupted is recovered first. All files are compared with what was
    written before one of them is touched. A compaction that is cut short leaves a run that is in order, and
    the next one goes on with it.

    Args:
        path: the run directory.
        on_rows: called with the rows that are done, and with how many there are.

    Raises:
        NotARunError: there is no run.
        RunInUseError: another process is writing it.
        ArgumentError: it has safetensors files only, or several processes have recorded it.
        DamagedError: a file is not what was written, and nothing was touched; or as by ``recover``.
        UnprovenError: captured rows wait in the journal for the machine that can prove them.
        RecordingError: the disk has no room for the largest of its files once more.
        OSError: with the path; the run is in order, and every row is there.
    """
    paths = RunPaths(path)
    lock = lock_run(paths.lock)
    try:
        refuse_pieces(paths, "compacted")
        return _compact(paths, on_rows or (lambda _done, _rows: None))
    finally:
        with suppress(OSError):
            _sweep(paths)
        lock.release()


def estimate_compaction(path: PathLike) -> CompactionEstimate:
    """Compress a few files of a run as :func:`compact` would, in memory, and say what would come of it.

    Raises:
        NotARunError: there is no run.
        ArgumentError: it has safetensors files only, or several processes have recorded it.
        DamagedError: a file is not what was written.
        OSError: a file cannot be read.
    """
    paths = RunPaths(path)
    run, manifest, blocks = _sealed(paths)
    refuse_pieces(paths, "compacted")
    groups = _alike(paths, run, blocks)
    waiting = sum(_length(file) for group in groups.values() for file in group)
    sampled, saved = 0, 0.0
    for group in groups.values():
        length = sum(map(_length, group))
        count = min(_SAMPLED_FILES, math.ceil(_SAMPLED_FILES * _SAMPLED_WHOLE * length / waiting))
        sample = _spread(group, count)
        pairs = [_smaller(paths, run.layout, manifest, block, key) for block, key in sample]
        found = sum(len(data) for data, _ in pairs)
        saved += length * (1 - sum(len(smaller) for _, smaller in pairs) / found)
        sampled += len(sample)
    before = _bytes(blocks)
    rows = sum(len(block.rows) for block in blocks if not block.compacted)
    files = sum(map(len, groups.values()))
    unsealed = len(run.steps) - run.sealed_rows
    return CompactionEstimate(paths.root, rows, unsealed, sampled, files, before, before - round(saved))


def was_written_lightly(path: PathLike) -> bool:
    """Whether any file of a run's matrices was compressed with little effort, or not at all.

    Raises:
        NotARunError: there is no run.
        ArgumentError: it has safetensors files only.
        DamagedError: its metadata or its manifest is not what was written, or a file is no file.
        OSError: a file cannot be read.
    """
    paths = RunPaths(path)
    run, _, blocks = _sealed(paths)
    return any(effort in ("none", "fast") for _, effort in _alike(paths, run, blocks))


def _alike(
    paths: RunPaths, run: Run, blocks: Sequence[Block]
) -> dict[tuple[str, Effort | None], list[tuple[Block, str]]]:
    """The files of matrices in blocks that were not compacted, by array and by how hard they were compressed.

    What compressing makes of one says little of another array, or of a file that was made with other effort.
    """
    alike: dict[tuple[str, Effort | None], list[tuple[Block, str]]] = {}
    for block in blocks:
        for key in block.files:
            name = key.partition("/")[0]
            if not block.compacted and name in run.layout.matrices:
                alike.setdefault((name, _effort(paths, run, name, key)), []).append((block, key))
    return alike


def _effort(paths: RunPaths, run: Run, name: str, key: str) -> Effort | None:
    """How hard the first chunk in a file was compressed; None where nothing tells it."""
    array = run.layout.arrays[name]
    halves = array["data_type"] == "float32" and run.frame.by_name[name].dtype == "bfloat16"
    try:
        descriptor = open_regular(paths.trajectory / key)
    except FileNotFoundError:
        # Whoever reads it says that it is missing.
        return None
    with os.fdopen(descriptor, "rb") as file:
        return effort_of(file.read(FRAME_HEAD.size), array, halves=halves)


def _length(file: tuple[Block, str]) -> int:
    block, key = file
    return block.files[key].length


def _spread(files: list[tuple[Block, str]], count: int) -> list[tuple[Block, str]]:
    """So many of the files, each from the middle of an equal part of them."""
    count = min(count, len(files))
    return [files[(2 * place + 1) * len(files) // (2 * count)] for place in range(count)]


def _compact(paths: RunPaths, on_rows: Callable[[int, int], None]) -> Compaction:
    if is_interrupted(paths):
        done = recover_to_write(paths)
        if not done.ok:
            raise DamagedError(
                f"{paths.root} is not compacted, because not all of it could be recovered: "
                f"{'; '.join((*done.lost, *done.unproven)[:_SHOWN])}. What could be is sealed; compacting "
                "again takes the run as it is now."
            )
    run, manifest, blocks = _sealed(paths)
    layout = run.layout
    for link in links_among([paths.trajectory, *(paths.trajectory / name for name in layout.arrays)]):
        raise DamagedError(through_link(link))
    _check(paths, manifest, blocks)
    _sweep(paths)
    waiting = [block for block in blocks if not _is_done(paths, block)]
    _check_room(paths, waiting)
    before = _bytes(blocks)
    rows = sum(len(block.rows) for block in waiting)
    appender = ManifestAppender(manifest)
    ready = 0
    on_rows(ready, rows)
    for block in waiting:
        files = {key: _smaller(paths, layout, manifest, block, key) for key in block.files}
        made = {key: smaller for key, (_, smaller) in files.items()}
        appender.append(Compacted(block.number, block.stop, digests(made)), sync=True)
        for key, (data, smaller) in files.items():
            if smaller != data:
                write_file(paths.trajectory / key, smaller, sync=True)
        ready += len(block.rows)
        on_rows(ready, rows)
    manifest.refresh()
    stop = blocks[-1].stop if blocks else 0
    return Compaction(paths.root, stop, rows, before, _bytes(manifest.sealed(stop)))


def _sealed(paths: RunPaths) -> tuple[Run, Manifest, list[Block]]:
    """A run, its manifest, and the entries that make up the rows in its blocks."""
    run = Run(paths.root)
    if run.store == "safetensors":
        raise ArgumentError(
            f"{paths.root} was recorded with store='safetensors': its matrices are in safetensors files, "
            "which are not compressed, and there is nothing to compact"
        )
    manifest = Manifest(paths.manifest)
    return run, manifest, manifest.sealed(run.sealed_rows)


def _check(paths: RunPaths, manifest: Manifest, blocks: Sequence[Block]) -> None:
    """Raise DamagedError if a file of the blocks is not what was written."""
    wrong = [
        f"{_place(paths, block, key)} {what}"
        for block in blocks
        for key, what in damaged_files(paths, manifest, block)
    ]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DamagedError(f"{'; '.join(wrong[:_SHOWN])}{more}. Nothing was changed. {REPAIR}")


def _is_done(paths: RunPaths, block: Block) -> bool:
    """Whether a block has the files that a compaction has entered for it."""
    return block.compacted and not any(
        difference(paths.trajectory / key, [written]) for key, written in block.files.items()
    )


def _check_room(paths: RunPaths, blocks: Sequence[Block]) -> None:
    """Raise RecordingError unless the largest file fits beside the old one, and the manifest can grow."""
    largest = max((written.length for block in blocks for written in block.files.values()), default=0)
    needed = largest + sum(_ENTRY_BYTES * (1 + len(block.files)) for block in blocks)
    free = disk_room(paths.root).free_bytes
    if free < needed:
        raise RecordingError(
            f"{paths.root} cannot be compacted: {needed:,} bytes are needed beside it for a moment, and the "
            f"disk has {free:,} left. Nothing was changed; make room, then compact again."
        )


def _smaller(
    paths: RunPaths, layout: Layout, manifest: Manifest, block: Block, key: str
) -> tuple[bytes, bytes]:
    """A file of a block as it is, and as it is to be."""
    data = _read(paths, manifest, block, key)
    try:
        return data, recompressed(layout.arrays[key.partition("/")[0]], data)
    except DamagedError as error:
        raise DamagedError(f"{_place(paths, block, key)}: {error}. {REPAIR}") from error


def _read(paths: RunPaths, manifest: Manifest, block: Block, key: str) -> bytes:
    """A file of a block, which is what was written."""
    written = manifest.digests_of(block, key)
    data = read_regular(paths.trajectory / key, max(each.length for each in written))
    if digest(data) not in written:
        raise DamagedError(f"{_place(paths, block, key)} is not what was written. {REPAIR}")
    return data


def _place(paths: RunPaths, block: Block, key: str) -> str:
    return f"{paths.trajectory / key} (block {block.number}, steps {describe_ranges(block.ranges)})"


def _bytes(blocks: Sequence[Block]) -> int:
    return sum(written.length for block in blocks for written in block.files.values())


def _sweep(paths: RunPaths) -> None:
    """Remove what a compaction that was cut short has left half written."""
    for path in paths.trajectory.glob(f"*/c.*{PARTIAL}"):
        path.unlink(missing_ok=True)
