"""resume(): recover a run and take it up again behind its last row."""

from dataclasses import dataclass

from embevo.errors import CreationError, FrameMismatchError, NotARunError
from embevo.run.disk.lock import WriterLock
from embevo.run.format.frame import FrameSpec
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run
from embevo.run.repair.recovery import Recovery, recover_to_write
from embevo.run.writing.run_writer import RunWriter


@dataclass(frozen=True)
class Resumed:
    """A run that is written again.

    Attributes:
        run: what it holds.
        recovery: what was found and mended.
        writer: behind its last row.
    """

    run: Run
    recovery: Recovery
    writer: RunWriter


def resume(paths: RunPaths, frame: FrameSpec, *, sync: bool) -> Resumed:
    """Lock a run, recover it, and take it up again.

    Args:
        paths: of the run.
        frame: what will be recorded; the run must record the same.
        sync: whether the run, and what is written from now on, survives a power cut.

    Raises:
        NotARunError: there is no run.
        RunInUseError: another process is writing it.
        FrameMismatchError: it records something else.
        DamagedError: as by ``recover``.
        UnprovenError: rows of it wait in the journal for the machine that can prove them.
        CreationError: there is no room, or no permission; what was recorded is there.
    """
    try:
        lock = WriterLock(paths.lock)
    except FileNotFoundError as error:
        raise NotARunError(f"{paths.root} is not a run: there is nothing to resume") from error
    except OSError as error:
        raise _cannot_resume(paths, error) from error
    try:
        recovery = recover_to_write(paths)
        run = Run(paths.root)
        _check_same(run, frame)
        return Resumed(run, recovery, RunWriter.reopen(paths, lock, sync=sync))
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise _cannot_resume(paths, error) from error
        raise


def _check_same(run: Run, frame: FrameSpec) -> None:
    if run.frame != frame:
        raise FrameMismatchError(
            f"{run.path} records {run.frame.to_json()}; this is {frame.to_json()}. Record into a new run."
        )


def _cannot_resume(paths: RunPaths, error: OSError) -> CreationError:
    return CreationError(
        f"cannot resume {paths.root}: {error.filename}: {error.strerror}. What was recorded is there. Mend "
        "that and try again."
    )
