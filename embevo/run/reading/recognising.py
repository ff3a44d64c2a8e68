"""Whether a directory is a run, and what it is where it is none."""

from embevo.errors import DamagedError, NotARunError
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths, snapshot_steps
from embevo.run.reading.chunk_files import REPAIR


def check_is_run(paths: RunPaths) -> None:
    """Raise an error unless the directory is a run that can be opened.

    Raises:
        NotARunError: it is none, or none yet; the message says what it is.
        DamagedError: it was one, and the metadata of its group is gone.
    """
    root = paths.root
    if (paths.incoming / paths.manifest.name).is_file():
        raise NotARunError(
            f"{root} is not a run yet: its creation was interrupted when the new run was complete, and "
            f"before it was in its place. embevo recover {root} puts it there."
        )
    if paths.manifest.is_file() and (paths.trajectory / GROUP_METADATA).is_file():
        return
    if not root.exists():
        reason = "there is no such directory"
    elif not root.is_dir():
        reason = "it is a file; a run is a directory"
    elif paths.manifest.is_file():
        if len(Manifest(paths.manifest).entries) > 1:
            raise DamagedError(f"{paths.trajectory / GROUP_METADATA} is missing. {REPAIR}")
        reason = "its creation was interrupted before anything was captured"
    elif paths.staged.is_dir():
        reason = "its creation was interrupted before anything was captured; it can be recorded into"
    elif root.name == "trajectory.zarr" and RunPaths(root.parent).manifest.is_file():
        reason = f"it is the Zarr group of the run {root.parent}"
    elif snapshot_steps(root):
        reason = "it is a folder of safetensors files: embevo import-safetensors makes a run of it"
    else:
        parts = {"manifest": paths.manifest.is_file(), "trajectory.zarr": paths.trajectory.is_dir()}
        reason = "it has no " + " and no ".join(name for name, there in parts.items() if not there)
    raise NotARunError(f"{root} is not a run: {reason}")
