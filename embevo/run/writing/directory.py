"""Claiming a run directory for a new run, and clearing one away."""

import shutil
from pathlib import Path

from embevo.errors import CreationError, RunExistsError
from embevo.run.disk.atomic import PARTIAL, sync_file
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths


def claim(paths: RunPaths, *, overwrite: bool) -> WriterLock:
    """Make the run directory and lock it; it is empty but for the lock afterwards.

    Raises:
        RunExistsError: it holds something, and either ``overwrite`` is not set or that is not a run.
        RunInUseError: another process is writing it.
        CreationError: it cannot be made.
    """
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(paths.lock)
    except OSError as error:
        raise CreationError(
            f"cannot create the run in {paths.root}: {_why(paths.root, error)}. "
            "Choose a directory that can be made and written to."
        ) from error
    try:
        _make_empty(paths, overwrite=overwrite)
        # From here on what lies here is known for a run, though it may not be complete.
        paths.manifest.touch()
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise CreationError(
                f"cannot create the run: {error.filename}: {error.strerror}. Mend that, or choose another "
                "directory."
            ) from error
        raise
    return lock


def _why(root: Path, error: OSError) -> str:
    for path in (root, *root.parents):
        if path.is_symlink() and not path.exists():
            return f"{path} is a symbolic link to {path.readlink()}, and there is nothing"
    return str(error.strerror)


def sync_run(paths: RunPaths) -> None:
    """Have everything that makes up the recording survive a power cut; OSError names the path."""
    for directory in (paths.trajectory, paths.snapshots):
        for path in sorted(directory.rglob("*")) if directory.exists() else []:
            sync_file(path)
    for path in (paths.manifest, paths.journal, paths.trajectory, paths.snapshots, paths.root):
        if path.exists():
            sync_file(path)


def _make_empty(paths: RunPaths, *, overwrite: bool) -> None:
    is_run = paths.manifest.exists()
    found = sorted(path.name for path in paths.root.iterdir() if path != paths.lock)
    if is_run and overwrite:
        # Looked at before anything is deleted.
        found = [name for name in found if name not in _parts(paths) and not name.endswith(PARTIAL)]
    if not found:
        clear(paths)
        return
    if not is_run:
        hint = "It is not a run, and is left alone: choose another directory."
    elif overwrite:
        hint = "These are not parts of a run: move them away."
    else:
        hint = "Choose another directory, or ask to overwrite it."
    raise RunExistsError(f"{paths.root} already holds {', '.join(found[:5])}. {hint}")


def _directories(paths: RunPaths) -> tuple[Path, ...]:
    return (paths.figures, paths.analysis, paths.checkpoints, paths.snapshots, paths.trajectory)


def _parts(paths: RunPaths) -> set[str]:
    files = (paths.analysis_json, paths.journal, paths.manifest)
    return {path.name for path in (*_directories(paths), *files)}


def clear(paths: RunPaths) -> None:
    """Delete the parts of a run, the manifest last: until it is gone, the rest is known for a run."""
    for directory in _directories(paths):
        shutil.rmtree(directory, ignore_errors=True)
    for path in (*paths.root.glob(f"*{PARTIAL}"), paths.analysis_json, paths.journal):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    paths.manifest.unlink(missing_ok=True)
