"""resume(): recover a run and take it up again behind its last row."""

import contextlib
from dataclasses import dataclass

from embevo.errors import CreationError, DamagedError, FrameMismatchError, NotARunError
from embevo.run.disk.lock import WriterLock
from embevo.run.format.frame import FrameSpec
from embevo.run.format.token_names import Annotations
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.annotations import read_annotations
from embevo.run.reading.reader import Run
from embevo.run.repair.recovery import has_run, recover_to_write
from embevo.run.repair.report import Recovery
from embevo.run.repair.rewinding import drop_after
from embevo.run.writing.annotating import write_annotations
from embevo.run.writing.run_writer import RunWriter


@dataclass(frozen=True)
class Resumed:
    """A run that is written again.

    Attributes:
        run: what it holds.
        recovery: what was found and mended.
        dropped: how many steps were dropped by rewinding.
        writer: behind its last row.
    """

    run: Run
    recovery: Recovery
    dropped: int
    writer: RunWriter


def resume(
    paths: RunPaths,
    frame: FrameSpec,
    *,
    annotations: Annotations | None = None,
    rewind_to: int | None = None,
    sync: bool,
    journal_dir: PathLike | None = None,
) -> Resumed:
    """Lock a run, recover it, and take it up again.

    Args:
        paths: of the run.
        frame: what will be recorded; the run must record the same.
        annotations: what is to be said of the tokens, each part in the place of what is said; None for what
            is said.
        rewind_to: the last step to keep; None keeps all.
        sync: whether the run, and what is written from now on, survives a power cut.
        journal_dir: where the ring goes; the run directory, or where the environment says, if None.

    Raises:
        NotARunError: there is no run.
        RunInUseError: another process is writing it.
        FrameMismatchError: it records something else.
        DamagedError: as by ``recover``.
        UnprovenError: rows of it wait in the journal for the machine that can prove them.
        CreationError: there is no room, or no permission; what was recorded is there.
    """
    if not has_run(paths):
        raise _nothing_there(paths)
    try:
        lock = WriterLock(paths.lock)
    except OSError as error:
        raise _cannot_resume(paths, error) from error
    try:
        recovery = recover_to_write(paths)
        run = Run(paths.root)
        _check_same(run, frame)
        dropped = 0 if rewind_to is None else drop_after(paths, rewind_to, journal_dir)
        if dropped:
            run = Run(paths.root)
        if annotations is not None and not annotations.is_empty:
            manifest = Manifest(paths.manifest)
            # Where that is damaged the recovery has said so: what is given takes the place of what is gone.
            with contextlib.suppress(DamagedError):
                annotations = read_annotations(paths, manifest, frame.token_ids).replaced_by(annotations)
            write_annotations(paths, ManifestAppender(manifest), manifest.annotated, annotations, sync=sync)
        writer = RunWriter.reopen(paths, lock, sync=sync, journal_dir=journal_dir)
        return Resumed(run, recovery, dropped, writer)
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise _cannot_resume(paths, error) from error
        raise


def _nothing_there(paths: RunPaths) -> NotARunError:
    why = ": its creation was interrupted before anything was captured" if paths.staged.is_dir() else ""
    return NotARunError(
        f"{paths.root} is not a run{why}: there is nothing to resume. Begin it without resume, or with "
        'resume="auto", which resumes a run that is there and else begins one.'
    )


def _check_same(run: Run, frame: FrameSpec) -> None:
    shards = run.layout.shards
    if shards is not None:
        raise FrameMismatchError(
            f"{run.path} was recorded by {len(shards.ranks)} of {shards.world} processes, each with a piece, "
            "and this process has all of it. Resume it with as many and the same mesh and placements, or "
            "record into a new run."
        )
    if run.frame != frame:
        raise FrameMismatchError(
            f"{run.path} records {run.frame.to_json()}; this is {frame.to_json()}. Record into a new run."
        )


def _cannot_resume(paths: RunPaths, error: OSError) -> CreationError:
    return CreationError(
        f"cannot resume {paths.root}: {error.filename}: {error.strerror}. What was recorded is there. Mend "
        "that and try again."
    )
