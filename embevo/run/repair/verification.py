"""verify(): is what lies on the disk what was written, and is it all there?"""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from embevo.errors import DamagedError, EmbevoError, NotARunError
from embevo.run.checkpoint_files import checkpoint_steps, read_checkpoint
from embevo.run.disk.atomic import PARTIAL
from embevo.run.disk.checksum import digest, file_digest
from embevo.run.disk.litter import paths_below
from embevo.run.disk.lock import writer_of
from embevo.run.format.belonging import check_belongs
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.format.steps import describe, describe_ranges
from embevo.run.format.token_names import MOST_BYTES
from embevo.run.journal.place import is_interrupted
from embevo.run.manifest.damage import damaged_files, difference, image_digest
from embevo.run.manifest.entry import Block, Created
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths, snapshot_name, snapshot_steps
from embevo.run.reading.annotations import read_annotations
from embevo.run.reading.reader import Run
from embevo.run.repair.completeness import check_completeness, check_ring
from embevo.run.repair.recovery import has_run
from embevo.run.repair.strangers import unfinished_writes
from embevo.run.repair.verified import Problem, Verification
from embevo.run.writing.part_locks import parts_of

_SHALLOW_STEPS: Final = 5


def verify(path: PathLike, *, deep: bool = False) -> Verification:
    """Compare every file of a run with the manifest, and its steps with what was asked for.

    Args:
        path: the run directory.
        deep: decode every block and compare every matrix with the checksum it was captured with; otherwise
            only those of the first and last five steps.

    Raises:
        NotARunError: there is no run, or one of a newer format.
    """
    paths = RunPaths(path)
    found = Verification(paths.root)
    try:
        run = Run(found.path)
    except NotARunError:
        raise
    except EmbevoError as error:
        # Also what keeps the run from opening is listed file by file, as far as the manifest can be read.
        if not paths.manifest.is_file():
            raise
        found.problems.append(Problem(".", str(error)))
        _check_without_opening(paths, found)
        return found
    found.steps = run.steps
    found.tail_rows = len(run.steps) - run.sealed_rows
    if run.ranks_differ:
        found.problems.append(Problem(paths.ranks.name, run.ranks_differ))
    manifest = Manifest(paths.manifest)
    interrupted = is_interrupted(paths) or paths.unjoined.exists()
    # Files that are newer than the rows that were seen are the writer's, and not looked at.
    writer = writer_of(paths.lock)
    live = writer is not None
    if manifest.torn and not interrupted:
        found.problems.append(Problem("manifest", "ends in the middle of a line"))
    _check_metadata(paths, manifest, found, rows=run.sealed_rows, interrupted=interrupted)
    blocks = manifest.sealed(run.sealed_rows)
    entries: list[Created | Block] = [manifest.created, *blocks]
    for entry in entries:
        _check_files(paths, manifest, entry, found)
    if run.store != "zarr":
        _check_snapshots(run, paths, blocks, found, live=live)
    _check_strangers(paths, manifest, found, interrupted=interrupted, live=live)
    _check_tail(run, paths, found)
    _check_values(run, found, deep=deep)
    _check_annotations(run, paths, manifest, found)
    _check_checkpoints(paths, found)
    check_completeness(run, found)
    check_ring(run, found, recording=writer is not None and writer.certain)
    for own in parts_of(paths):
        if has_run(own):
            _check_part(run, paths, own, found)
            _take_over(paths, found, verify(own.root, deep=deep))
        elif len(run.steps):
            # A process that was killed while it made its run has captured nothing, and the whole has no step.
            what = f"is no run, and the whole has {len(run.steps):,} steps of which it had a piece"
            found.problems.append(Problem(_below(paths, own.root), what))
    return found


def _check_part(run: Run, paths: RunPaths, own: RunPaths, found: Verification) -> None:
    """The run of a process is a piece of this one."""
    with contextlib.suppress(FileNotFoundError):
        manifest = Manifest(own.manifest)
        try:
            check_belongs(
                manifest.created.group.get("attributes"),
                rank=int(own.root.name),
                whole=run.layout.id,
                path=own.root,
            )
        except DamagedError as error:
            found.problems.append(Problem(_below(paths, own.root), str(error)))


def _take_over(paths: RunPaths, found: Verification, own: Verification) -> None:
    """Add what was found in the run of one process to what was found in the whole."""
    found.checked_files += own.checked_files
    found.problems += [
        replace(problem, file=_below(paths, own.path / problem.file)) for problem in own.problems
    ]
    found.notes += [f"{_below(paths, own.path)}: {note}" for note in own.notes]


def _check_files(paths: RunPaths, manifest: Manifest, entry: Created | Block, found: Verification) -> None:
    found.checked_files += len(entry.files)
    steps, block = (describe_ranges(entry.ranges), entry.number) if isinstance(entry, Block) else ("", None)
    for key, what in damaged_files(paths, manifest, entry):
        found.problems.append(Problem(_below(paths, paths.trajectory / key), what, steps, block))


def _check_metadata(
    paths: RunPaths, manifest: Manifest, found: Verification, *, rows: int, interrupted: bool
) -> None:
    """The metadata must be that of the last entry; that of an array may be one block ahead after a kill."""
    entries = manifest.live
    current = max(index for index, entry in enumerate(entries) if entry.stop == rows)
    # The last entry may be of a block before the last one, that was compacted.
    sealed = max(entry.stop for entry in entries)
    if sealed != rows and not interrupted:
        found.problems.append(
            Problem(f"trajectory.zarr/{GROUP_METADATA}", f"shows {rows} rows; {sealed} were sealed")
        )
    allowed = entries[current:] if interrupted else [entries[current]]
    for key in entries[current].metadata:
        found.checked_files += 1
        what = difference(paths.trajectory / key, [entry.metadata[key] for entry in reversed(allowed)])
        if what:
            found.problems.append(Problem(f"trajectory.zarr/{key}", what))


def _check_snapshots(
    run: Run, paths: RunPaths, blocks: list[Block], found: Verification, *, live: bool
) -> None:
    for block in blocks:
        for row, step in zip(block.rows, block.steps, strict=True):
            found.checked_files += 1
            path = paths.snapshot(step)
            what = difference(path, [image_digest(run.frame, block.image_checksum(row))])
            if what:
                found.problems.append(Problem(_below(paths, path), what, str(step), block.number))
    newest = max(run.steps.tolist(), default=-1)
    known = {*run.steps.tolist(), *run.unproven_steps.tolist()}
    newer = live or bool(run.journal_elsewhere)
    strangers = {step for step in snapshot_steps(paths.snapshots) if not (newer and step > newest)} - known
    found.problems += [
        Problem(f"snapshots/{snapshot_name(step)}", "belongs to no step of the run", str(step))
        for step in sorted(strangers)
    ]


def _check_strangers(
    paths: RunPaths, manifest: Manifest, found: Verification, *, interrupted: bool, live: bool
) -> None:
    """Files in the Zarr group that nobody wrote, and what kills have left behind."""
    keys = {
        key
        for entry in manifest.entries
        if isinstance(entry, Created | Block)
        for key in (*entry.files, *entry.metadata)
    }
    written = {paths.trajectory / key for key in keys}
    if live:
        return
    for path in unfinished_writes(paths):
        if interrupted:
            found.notes.append(f"{_below(paths, path)} is an unfinished write; embevo recover removes it")
        else:
            found.problems.append(
                Problem(_below(paths, path), "is an unfinished write; embevo recover removes it")
            )
    for path in (paths.staged, paths.outgoing):
        if path.exists():
            found.notes.append(
                f"{path.name} is left of a run that was to be recorded over; embevo recover removes it"
            )
    for path in paths_below(paths.trajectory):
        if path not in written and not path.name.endswith(PARTIAL) and path.is_file():
            what = (
                "was not written by the recorder; embevo recover leaves it alone: nothing can be said of it"
            )
            found.problems.append(Problem(_below(paths, path), what))


def _check_tail(run: Run, paths: RunPaths, found: Verification) -> None:
    for row in range(run.sealed_rows, len(run.steps)):
        try:
            ((step, image),) = run.images([row])
        except EmbevoError as error:
            found.problems.append(Problem("journal", str(error), str(run.steps[row])))
            continue
        # The file of a step is written before its block is sealed, and may not be there yet.
        path = paths.snapshot(step)
        if file_digest(path, len(image)) not in (None, digest(image.data)):
            found.problems.append(Problem(_below(paths, path), "is not what was captured", str(step)))
    if found.tail_rows:
        found.notes.append(
            f"{found.tail_rows} steps are in the journal only; embevo recover seals them if nobody is writing"
        )


def _check_values(run: Run, found: Verification, *, deep: bool) -> None:
    """Decode what Zarr holds, and compare it with the checksums of what was captured."""
    sealed = run.sealed_rows
    rows = range(sealed)
    if not deep and sealed > 2 * _SHALLOW_STEPS:
        rows_to_check = [*rows[:_SHALLOW_STEPS], *rows[-_SHALLOW_STEPS:]]
    else:
        rows_to_check = list(rows)
    size = run.layout.block_steps
    for block in sorted({row // size for row in rows_to_check}):
        mine = [row for row in rows_to_check if row // size == block]
        steps = describe(run.steps[mine].tolist())
        try:
            for name in run.frame.scalars:
                run[name][mine]
            stored = run.sealed_steps(mine)
            if not np.array_equal(stored, run.steps[mine]):
                found.problems.append(
                    Problem(f"trajectory.zarr/step/c.{block}", "does not hold the steps sealed", steps, block)
                )
            found.compared_steps += sum(1 for _ in run.images(mine))
        except EmbevoError as error:
            if not any(problem.block == block for problem in found.problems):
                found.problems.append(Problem("trajectory.zarr", str(error), steps, block))


def _check_annotations(run: Run, paths: RunPaths, manifest: Manifest, found: Verification) -> None:
    """What is said of the tokens is in a file of its own, which the manifest names."""
    entered = manifest.annotated
    if entered is None:
        return
    found.checked_files += 1
    if file_digest(paths.tokens, MOST_BYTES) == entered:
        return
    try:
        read_annotations(paths, manifest, run.frame.token_ids)
    except DamagedError as error:
        found.problems.append(Problem(paths.tokens.name, str(error)))
    else:
        found.notes.append(f"{paths.tokens.name} was being replaced; embevo recover puts it in its place")


def _check_checkpoints(paths: RunPaths, found: Verification) -> None:
    for step in checkpoint_steps(paths.checkpoints):
        found.checked_files += 2
        try:
            read_checkpoint(paths.checkpoints / f"step_{step:07d}")
        except DamagedError as error:
            found.problems.append(Problem(f"checkpoints/step_{step:07d}", str(error), str(step)))


def _check_without_opening(paths: RunPaths, found: Verification) -> None:
    with contextlib.suppress(EmbevoError, OSError):
        manifest = Manifest(paths.manifest)
        last = {block.number: block for block in manifest.blocks}
        entries: list[Created | Block] = [manifest.created, *last.values()]
        for entry in entries:
            _check_files(paths, manifest, entry, found)
        for key, written in max(manifest.live, key=lambda entry: entry.stop).metadata.items():
            what = difference(paths.trajectory / key, [written])
            if what:
                found.problems.append(Problem(f"trajectory.zarr/{key}", what))


def _below(paths: RunPaths, path: Path) -> str:
    return path.relative_to(paths.root).as_posix()
