"""view(): the page of runs in a notebook."""

from pathlib import Path
from typing import Any

from embevo.errors import ArgumentError, MissingLibraryError, UnsupportedError
from embevo.run.paths import PathLike, absolute
from embevo.run.reading.reader import Run
from embevo.viewer.site import Site


def view(*runs: PathLike | Run, matrix: str | None = None, height: int = 640, state: str = "") -> Any:
    """Show how the tokens of runs move, in a notebook: the page of ``embevo view``, without a server.

    What is shown comes over the connection that the notebook has to its kernel, so that it works wherever the
    kernel is, and offline. A run that another process records keeps growing; one that this kernel records
    does so whenever the kernel has no cell to run. Call ``close()`` of the widget to let go of the runs.

    Args:
        runs: their directories, or runs that are open, the first one first.
        matrix: which of their matrices; by default the embeddings, or the first.
        height: of the page, in CSS pixels.
        state: where it begins: what stands behind # in an address of ``embevo view``, such as
            ``step=100&tokens=4``.

    Returns:
        The widget, an ``anywidget.AnyWidget``, which a notebook shows as the last value of a cell.

    Raises:
        ArgumentError: no run is given, one twice, or a height of less than 240.
        MissingLibraryError: anywidget is not installed: ``pip install 'embevo[notebook]'``.
        NotARunError: one of the paths is not a run.
        AnalysisError: a run has no steps, or no such matrix.
        UnsupportedError: a run is in object storage.
        DamagedError: metadata, manifest or journal are not what was written.
    """
    if not runs:
        raise ArgumentError("no run is given: embevo.view(run) shows one, embevo.view(run, other) two")
    if height < 240:
        raise ArgumentError(f"a page {height} pixels high shows nothing: give at least 240")
    paths = [_path_of(run) for run in runs]
    try:
        from embevo.viewer.widget import Widget  # noqa: PLC0415 - needs what not everybody has
    except ModuleNotFoundError as error:
        if error.name not in {"anywidget", "traitlets"}:
            raise
        raise MissingLibraryError(
            f"the page in a notebook needs {error.name}: pip install 'embevo[notebook]'"
        ) from error
    return Widget(Site(paths, matrix, small=True), height=height, state=state)


def _path_of(run: PathLike | Run) -> Path:
    if not isinstance(run, Run):
        return absolute(run)
    if run.url is not None:
        raise UnsupportedError(f"{run.url} is not on this machine: embevo.pull(...) brings it here")
    return run.path
