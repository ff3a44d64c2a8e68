"""The runs of the processes below a whole run, and their locks."""

import contextlib
from collections.abc import Iterator

from embevo.errors import RunInUseError
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths


def parts_of(paths: RunPaths) -> list[RunPaths]:
    """The runs of processes that are there, in order of rank."""
    if not paths.ranks.is_dir():
        return []
    return [
        RunPaths(path) for path in sorted(paths.ranks.iterdir()) if path.name.isdecimal() and path.is_dir()
    ]


@contextlib.contextmanager
def locked_parts(paths: RunPaths) -> Iterator[None]:
    """Hold the locks of the runs of all processes.

    Raises:
        RunInUseError: one of them is being written.
    """
    with contextlib.ExitStack() as held:
        for own in parts_of(paths):
            try:
                lock = WriterLock(own.lock)
            except RunInUseError as error:
                raise RunInUseError(f"{paths.root}: {error}") from error
            held.callback(lock.release)
        yield
