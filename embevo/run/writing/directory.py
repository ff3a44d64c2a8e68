"""Claiming a run directory for a new run: what may be there, and what may not."""

import contextlib
import os
from pathlib import Path

from embevo.errors import CreationError, RunExistsError
from embevo.run.disk.atomic import PARTIAL, sync_file
from embevo.run.disk.litter import is_litter
from embevo.run.disk.lock import WriterLock
from embevo.run.disk.rank import among_ranks
from embevo.run.disk.regular_file import links_among, through_link
from embevo.run.journal.orphan import wait_for_orphan
from embevo.run.journal.place import ring_file
from embevo.run.paths import RunPaths
from embevo.run.writing.part_locks import locked_parts, parts_of
from embevo.run.writing.replacing import settle


def claim(paths: RunPaths, *, overwrite: bool) -> WriterLock:
    """Make the run directory and lock it; a run that is there stays until it is replaced.

    Raises:
        RunExistsError: it holds something, and either ``overwrite`` is not set or that is not a run, or not
            one that can be replaced as a whole.
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
        wait_for_orphan(ring_file(paths))
        settle(paths)
        _check_free(paths, overwrite=overwrite)
        # Processes of a training record on when the one that has the lock of the whole run has ended.
        with locked_parts(paths):
            for own in parts_of(paths):
                wait_for_orphan(ring_file(own))
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise cannot_create(paths, error) from error
        raise
    return lock


def missing_directories(root: Path) -> list[Path]:
    """What has to be made for a directory to be there, itself first."""
    return [path for path in (root, *root.parents) if not os.path.lexists(path)]


def remove_directories(made: list[Path]) -> None:
    """Remove what was made for a run that could not be created, as far as nothing else is in it."""
    with contextlib.suppress(OSError):
        for path in made:
            path.rmdir()


def cannot_create(paths: RunPaths, error: OSError) -> CreationError:
    """What to raise of an error of the operating system; nothing that was there is gone."""
    where = f"{error.filename}: " if error.filename and str(error.filename) != str(paths.root) else ""
    return CreationError(
        f"cannot create the run {paths.root}: {where}{error.strerror}. Mend that, or choose another "
        "directory."
    )


def sync_run(paths: RunPaths) -> None:
    """Have everything that makes up the recording survive a power cut; OSError names the path."""
    for directory in (paths.trajectory, paths.snapshots):
        for path in sorted(directory.rglob("*")) if directory.exists() else []:
            sync_file(path)
    for path in (
        paths.manifest,
        paths.journal,
        paths.journal_at,
        paths.tokens,
        paths.trajectory,
        paths.snapshots,
        paths.root,
    ):
        if path.exists():
            sync_file(path)


def _why(root: Path, error: OSError) -> str:
    for path in (root, *root.parents):
        if path.is_symlink() and not path.exists():
            return f"{path} is a symbolic link to {path.readlink()}, and there is nothing"
    return str(error.strerror)


def _check_free(paths: RunPaths, *, overwrite: bool) -> None:
    is_run = paths.manifest.exists()
    names = sorted(path.name for path in paths.root.iterdir())
    # Of another process that looks for its turn, the lock has a companion for a moment.
    found = [name for name in names if not name.startswith(paths.lock.name) and not is_litter(name)]
    if is_run and overwrite:
        parts = {part.name for part in paths.parts}
        found = [name for name in found if name not in parts and not name.endswith(PARTIAL)]
    if not found:
        for link in links_among(paths.parts):
            raise RunExistsError(f"{through_link(link)} Until then, record into another directory.")
        return
    if not is_run:
        hint = "It is not a run, and is left alone: choose another directory."
    elif overwrite:
        hint = "These are not parts of a run: move them away, or choose another directory."
    else:
        hint = "Choose another directory, or ask to overwrite it."
    raise RunExistsError(f"{paths.root} already holds {', '.join(found[:5])}. {hint}{among_ranks()}")
