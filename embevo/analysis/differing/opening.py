"""What lies at a path, as one of two recordings that are compared."""

from pathlib import Path

from embevo.analysis.differing.of_run import side_of_run
from embevo.analysis.differing.of_safetensors import (
    side_of_checkpoint,
    side_of_file,
    side_of_files,
    step_files,
)
from embevo.analysis.differing.of_zarr import MARKS, side_of_zarr
from embevo.analysis.differing.side import Side
from embevo.errors import AnalysisError
from embevo.run.cloud.address import is_url
from embevo.run.paths import PathLike, RunPaths, absolute
from embevo.run.reading.reader import Run, open_run


def open_side(of: Run | PathLike, *, checkpoints: bool = False) -> Side:
    """A run or its last checkpoint, a folder of safetensors files or one of them, a Zarr array or group.

    Args:
        of: the recording, or where it lies.
        checkpoints: take the weights in the last checkpoint of the run, in place of what it has recorded.

    Raises:
        NotARunError: there is nothing that can be compared; the message says what it is.
        AnalysisError: it has no checkpoint, or is no Zarr that can be read.
        DamagedError: stored bytes are not what was written.
    """
    is_remote = isinstance(of, str) and is_url(of)
    if checkpoints:
        if is_remote:
            raise AnalysisError(f"{of} is in object storage, where no checkpoints are sent: name one here")
        root = of.path if isinstance(of, Run) else absolute(of)
        return side_of_checkpoint(root, RunPaths(root).checkpoints)
    if isinstance(of, Run) or is_remote:
        return side_of_run(of if isinstance(of, Run) else open_run(of))
    return _side_at(absolute(of))


def _side_at(path: Path) -> Side:
    if path.is_file() and path.suffix == ".safetensors":
        return side_of_file(path)
    if path.is_dir() and not RunPaths(path).manifest.exists():
        if any((path / mark).is_file() for mark in MARKS):
            return side_of_zarr(path)
        files = step_files(path)
        if files:
            return side_of_files(path, files)
    # Opening it says what it is where it is no run either.
    return side_of_run(open_run(path))
