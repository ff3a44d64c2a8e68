"""Putting a new run into its place, all of it or nothing, also where another run is.

The new run is made beside, in ``RunPaths.staged``. One rename of that directory decides: before it the old
run counts and the new one is nothing, after it the new one counts. Then the old parts are moved aside, then
the new ones in, the manifest last, and then the old ones are deleted. The trajectory is the first of the new
parts to be moved: so while it is still outside, everything in the run directory is old. Whoever finds the
work half done goes on with it from what is there.
"""

import contextlib
import shutil
from pathlib import Path

from embevo.run.disk.atomic import sync_file
from embevo.run.journal.place import remove_ring
from embevo.run.paths import RunPaths


def stage(paths: RunPaths) -> RunPaths:
    """An empty directory for the parts of a new run; the caller holds the lock.

    Raises:
        OSError: it cannot be made.
    """
    paths.staged.mkdir()
    return RunPaths(paths.staged)


def put_in_place(paths: RunPaths, *, sync: bool) -> None:
    """Replace what is in the run directory by the staged run.

    With ``sync``, a power cut leaves one of the two whole, or a replacement that can be finished.

    Raises:
        OSError: with the path; everything is then where it was.
    """
    moved: list[tuple[Path, Path]] = []
    try:
        _rename(paths.staged, paths.incoming, moved)
        if sync:
            sync_file(paths.root)
        _swap(paths, moved)
        if sync:
            sync_file(paths.root)
            sync_file(paths.root.parent)
    except OSError:
        # If this fails too, it ends there: the new run is then the one that counts, and whoever comes next
        # finishes the work.
        with contextlib.suppress(OSError):
            for source, target in reversed(moved):
                target.rename(source)
        raise
    _tidy(paths)


def discard(paths: RunPaths) -> None:
    """Delete a staged run that will not be put in place, unless it counts already."""
    if not paths.incoming.exists():
        _tidy(paths)


def settle(paths: RunPaths) -> list[str]:
    """Finish what a killed process has begun here, or undo it; the caller holds the lock.

    Returns:
        What is gone from the run directory by that.

    Raises:
        OSError: with the path.
    """
    there = [path for path in (paths.staged, paths.incoming, paths.outgoing) if path.exists()]
    if not there:
        return []
    gone = [paths.staged.name] if paths.staged in there else []
    if paths.outgoing in there or (paths.incoming / paths.trajectory.name).exists():
        gone.append(paths.outgoing.name)
    if (paths.incoming / paths.manifest.name).exists():
        _swap(paths, [])
    _tidy(paths)
    return gone


def _swap(paths: RunPaths, moved: list[tuple[Path, Path]]) -> None:
    if (paths.incoming / paths.trajectory.name).exists():
        paths.outgoing.mkdir(exist_ok=True)
        # Without its manifest, what is left is not taken for a whole run.
        for part in reversed(paths.parts):
            if part.exists():
                _rename(part, paths.outgoing / part.name, moved)
    for part in paths.parts:
        new = paths.incoming / part.name
        if new.exists():
            _rename(new, part, moved)


def _rename(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    source.rename(target)
    moved.append((source, target))


def _tidy(paths: RunPaths) -> None:
    """What cannot be deleted, such as a directory of another user's, is left for the next time."""
    for path in (paths.staged, paths.incoming, paths.outgoing):
        for below in (path, *sorted(RunPaths(path).ranks.glob("*"))):
            with contextlib.suppress(OSError):
                remove_ring(RunPaths(below))
        shutil.rmtree(path, ignore_errors=True)
