"""A recorder's copy in object storage: whether the run can go there, and what is said where it has not."""

import warnings
from pathlib import Path

from embevo.errors import RecordingWarning
from embevo.recording.options import seconds
from embevo.run.mirroring.mirror import Mirror
from embevo.run.paths import RunPaths


def mirror_to(url: str | None, wait: float) -> Mirror | None:
    """What sends a run to a URL; None where none is given.

    Raises:
        ArgumentError: it is no URL of object storage, or carries something secret, or ``wait`` no duration.
        MissingLibraryError: obstore is not installed.
    """
    wait = seconds("mirror_wait", wait)
    return None if url is None else Mirror(url, wait=wait)


def check_mirror(mirror: Mirror | None, paths: RunPaths, *, resumed: bool) -> None:
    """Look at the place before anything is recorded; one that does not answer is said and goes on.

    Raises:
        RunExistsError: something else is there.
        StorageRefusedError: there is no such bucket, or no permission.
    """
    if mirror is None:
        return
    why = mirror.look(paths, resumed=resumed)
    if why:
        warnings.warn(
            f"object storage does not answer, and is asked again while recording goes on: {why}",
            RecordingWarning,
            stacklevel=5,
        )


def end_mirror(mirror: Mirror | None, root: Path) -> None:
    """Give what is left its time, and say what was not sent."""
    unsent = "" if mirror is None else mirror.close()
    if mirror is not None and unsent:
        warnings.warn(
            f"{unsent}. Everything is in {root}; embevo push {root} {mirror.url} sends the rest.",
            RecordingWarning,
            stacklevel=3,
        )
