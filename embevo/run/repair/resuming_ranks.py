"""Taking up again a run that several processes have recorded, in as many processes."""

from embevo.errors import FrameMismatchError
from embevo.run.disk.atomic import write_file
from embevo.run.disk.lock import WriterLock
from embevo.run.format.frame import FrameSpec
from embevo.run.format.shards import Shards
from embevo.run.format.steps import describe
from embevo.run.format.token_names import Annotations
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Rewound
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.annotations import read_annotations
from embevo.run.reading.reader import Run
from embevo.run.repair.recovery import has_run, recover_locked, recover_to_write
from embevo.run.repair.report import Recovery
from embevo.run.repair.strangers import sweep_strangers
from embevo.run.writing.annotating import write_annotations
from embevo.run.writing.whole import mark_unjoined


def resume_whole(
    paths: RunPaths,
    frame: FrameSpec,
    shards: Shards,
    *,
    annotations: Annotations,
    rewind_to: int | None,
    sync: bool,
) -> tuple[WriterLock, Recovery, int]:
    """Lock the whole run, recover it and those of its processes, and have it ready to be joined.

    Returns:
        The lock of the whole run, what was found and mended, and the last step that every process keeps; -1
        if none.

    Raises:
        RunInUseError: another process is writing it, or the run of a process.
        FrameMismatchError: it records something else, or other processes or pieces.
        DamagedError: as by ``recover``.
        UnprovenError: rows wait in a journal for the machine that can prove them.
        OSError: with the path.
    """
    lock = WriterLock(paths.lock)
    try:
        recovery = recover_to_write(paths)
        run = Run(paths.root)
        check_same_shards(run, frame, shards)
        mark_unjoined(paths, sync=sync)
        last = int(run.steps[-1]) if len(run.steps) else -1
        keep = last if rewind_to is None else min(last, rewind_to)
        if keep < last:
            _rewind(paths, run, int((run.steps <= keep).sum()))
        if not annotations.is_empty:
            manifest = Manifest(paths.manifest)
            said = read_annotations(paths, manifest, frame.token_ids).replaced_by(annotations)
            write_annotations(paths, ManifestAppender(manifest), manifest.annotated, said, sync=sync)
    except BaseException:
        lock.release()
        raise
    return lock, recovery, keep


def recover_part(paths: RunPaths) -> None:
    """Recover the run of one process, if there is one, on the machine where it is to go on.

    Raises:
        RunInUseError: it is being written.
        DamagedError: as by ``recover``.
        OSError: with the path.
    """
    if not has_run(paths):
        return
    lock = WriterLock(paths.lock)
    try:
        recover_locked(paths)
    finally:
        lock.release()


def check_same_shards(run: Run, frame: FrameSpec, shards: Shards) -> None:
    """Raise FrameMismatchError unless a run records this frame, in these pieces."""
    if run.frame != frame:
        raise FrameMismatchError(
            f"{run.path} records {run.frame.to_json()}; this is {frame.to_json()}. Record into a new run."
        )
    begun = run.layout.shards
    if begun is None:
        raise FrameMismatchError(
            f"{run.path} was recorded by one process, and this is one of {shards.world}, each with a piece. "
            "Record into a new run."
        )
    if begun != shards:
        how = (
            f"{begun.world} processes, of which ranks {describe(list(begun.ranks))} recorded a piece each"
            if begun.world != shards.world
            else "as many processes, which divided the arrays otherwise among them"
        )
        raise FrameMismatchError(
            f"{run.path} was begun by {how}; this is a training of {shards.world} processes. Resume it with "
            "as many and the same mesh and placements, or record into a new run."
        )


def _rewind(paths: RunPaths, run: Run, rows: int) -> None:
    """Shorten the whole run to the last block border at or before some rows; the rest is joined again."""
    layout = run.layout
    first = rows // layout.block_steps * layout.block_steps
    manifest = Manifest(paths.manifest)
    ManifestAppender(manifest).append(Rewound(first), sync=True)
    for key, data in layout.metadata(first).items():
        write_file(paths.trajectory / key, data, sync=True)
    manifest.refresh()
    sweep_strangers(paths, manifest, layout, first, waiting=[], interrupted=True)
