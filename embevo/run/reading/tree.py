"""open_runs(): many runs as one xarray DataTree, read when it is asked."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from embevo.errors import ArgumentError, MissingLibraryError, NotARunError
from embevo.run.paths import PathLike, absolute
from embevo.run.reading.reader import Run, open_run

if TYPE_CHECKING:
    import xarray as xr


def open_runs(
    runs: PathLike | Iterable[PathLike], *, native: bool = False, chunks: Mapping[str, int] | None = None
) -> "xr.DataTree":
    """Many runs as one tree, a node for each, with what :meth:`Run.to_xarray` gives of it.

    Args:
        runs: a pattern such as ``"runs/*"`` or ``"sweep/**"``, of whose matches those that are no runs are
            passed over; or directories of runs.
        native: as in :meth:`Run.to_xarray`.
        chunks: likewise.

    Returns:
        A tree without data at the root. A node is named by its path below the folder that all runs are in.

    Raises:
        ArgumentError: nothing that matches is a run, or a run is named twice.
        NotARunError: a directory that was named is not a run.
        DamagedError: metadata, manifest or journal of one are not what was written.
        MissingLibraryError: xarray is not installed; or ``chunks`` are given, and dask is not.
    """
    try:
        import xarray as xr  # noqa: PLC0415 - most readers need no xarray
    except ImportError as error:
        raise MissingLibraryError("Runs as a tree need xarray: pip install 'embevo[analysis]'.") from error
    if isinstance(runs, str | os.PathLike):
        pattern: str | None = os.fspath(runs)
        opened = _matching(absolute(runs))
    else:
        pattern = None
        opened = [open_run(path) for path in runs]
    if not opened:
        raise ArgumentError("no run is named" if pattern is None else f"no run matches {pattern!r}")
    paths = [run.path for run in opened]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ArgumentError(f"{twice} is named twice; a tree has a node for each run")
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    nodes = {
        run.path.relative_to(folder).as_posix(): run.to_xarray(native=native, chunks=chunks) for run in opened
    }
    return xr.DataTree.from_dict(nodes)


def _matching(pattern: Path) -> list[Run]:
    found: list[Run] = []
    for path in sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))):
        # The parts of a run are below it, and none of them is a run.
        if found and path.is_relative_to(found[-1].path):
            continue
        with contextlib.suppress(NotARunError, NotADirectoryError):
            found.append(open_run(path))
    return found
