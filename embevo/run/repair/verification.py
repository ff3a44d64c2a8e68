"""verify(): is what lies on the disk what was written, and is it all there?"""

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError, EmbevoError, NotARunError
from embevo.run.checkpoint_files import checkpoint_steps, read_checkpoint
from embevo.run.disk.atomic import PARTIAL
from embevo.run.disk.checksum import digest, file_digest
from embevo.run.disk.litter import paths_below
from embevo.run.disk.lock import writer_of
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.format.settings import last_step_of, schedule_of
from embevo.run.format.steps import count, describe, describe_ranges, from_ranges, gaps, to_ranges
from embevo.run.format.token_names import MOST_BYTES
from embevo.run.journal.place import is_interrupted
from embevo.run.manifest.damage import damaged_files, difference, image_digest
from embevo.run.manifest.entry import Block, Created
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths, snapshot_name, snapshot_steps
from embevo.run.reading.annotations import read_annotations
from embevo.run.reading.reader import Run
from embevo.run.repair.recovery import has_run
from embevo.run.repair.strangers import unfinished_writes
from embevo.run.writing.part_locks import parts_of

_SHALLOW_STEPS: Final = 5
# More files than a folder has; the attribute is untrusted.
_MOST_IMPORTED: Final = 10_000_000


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: path below the run directory.
        what: what is wrong with it.
        steps: the steps concerned, for people; empty if it concerns none in particular.
        block: number of the block; None if it concerns none in particular.
    """

    file: str
    what: str
    steps: str = ""
    block: int | None = None


@dataclass
class Verification:
    """What :func:`verify` has found.

    Attributes:
        path: the run.
        steps: ``(step,)`` int64 steps that can be read, sealed or in the journal.
        expected: number of steps that the configuration asks for; None if it says nothing.
        missing: steps that should be there and are not, by the configuration or by the usual stride, as
            ``[first, last, stride]``.
        tail_rows: rows that are in the journal only.
        checked_files: files whose checksums were compared.
        compared_steps: steps whose Zarr rows and captured bits were compared.
        problems: everything that is wrong.
        notes: what is worth knowing and not wrong.
    """

    path: Path
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    expected: int | None = None
    missing: list[list[int]] = field(default_factory=list)
    tail_rows: int = 0
    checked_files: int = 0
    compared_steps: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


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
    manifest = Manifest(paths.manifest)
    interrupted = is_interrupted(paths) or paths.unjoined.exists()
    # Files that are newer than the rows that were seen are the writer's, and not looked at.
    live = writer_of(paths.lock) is not None
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
    _check_completeness(run, found)
    for own in parts_of(paths):
        if has_run(own):
            _take_over(paths, found, verify(own.root, deep=deep))
        elif len(run.steps):
            # A process that was killed while it made its run has captured nothing, and the whole has no step.
            what = f"is no run, and the whole has {len(run.steps):,} steps of which it had a piece"
            found.problems.append(Problem(_below(paths, own.root), what))
    return found


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
    if len(run.unproven_steps):
        found.notes.append(
            f"steps {describe(run.unproven_steps.tolist())} wait in the journal, and nothing on this machine "
            "proves them; embevo recover says where they can be proven, and keeps them"
        )
    if run.journal_elsewhere:
        found.notes.append(f"{run.journal_elsewhere}; embevo recover says what can be done")
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


def _check_completeness(run: Run, found: Verification) -> None:
    have = run.steps.tolist()
    schedule = schedule_of(run.attributes)
    imported = _imported_steps(run)
    if imported is not None:
        found.expected = len(imported)
        found.missing = to_ranges(sorted(imported - set(have)))
        _say_missing(found)
    elif run.layout.schedule is not None:
        last = last_step_of(run.attributes)
        if last is not None:
            found.missing = run.layout.schedule.missing(have, 0, last)
            found.expected = len(have) + count(found.missing)
            _say_missing(found)
        elif have:
            found.missing = run.layout.schedule.missing(have, have[0], have[-1])
            if found.missing:
                found.notes.append(f"gaps in the schedule of the run: {describe_ranges(found.missing)}")
    elif schedule is not None:
        steps, every = schedule
        # Between the recorded multiples of `every`, with the ones before the first and after the last added.
        beyond = (steps // every + 1) * every
        found.missing = gaps([-every, *(step for step in have if step % every == 0), beyond], every)
        if steps % every and steps not in have:
            found.missing.append([steps, steps, 1])
        found.expected = steps // every + 1 + bool(steps % every)
        _say_missing(found)
    else:
        found.missing = gaps(have)
        if found.missing:
            found.notes.append(f"gaps in the usual stride: {describe_ranges(found.missing)}")


def _say_missing(found: Verification) -> None:
    if found.missing:
        found.problems.append(
            Problem(
                "trajectory.zarr/step",
                f"{count(found.missing):,} of {found.expected:,} expected steps were not recorded",
                describe_ranges(found.missing),
            )
        )


def _imported_steps(run: Run) -> set[int] | None:
    """The steps of the folder or runs that the run was made of; None if it does not say that of itself."""
    try:
        made = run.attributes.get("merged", run.attributes.get("imported"))
        ranges = [[int(part) for part in each] for each in made["steps"]]
        sound = all(first <= last and stride > 0 for first, last, stride in ranges)
        return set(from_ranges(ranges)) if sound and count(ranges) <= _MOST_IMPORTED else None
    except MALFORMED:
        return None


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
