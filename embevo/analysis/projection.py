"""project(): where the tokens are, at chosen steps, in the plane of the principal components."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.reading import matrix_of, rows_of, values_of
from embevo.run.reading.reader import Run, open_run


def project(
    run: str | Path | Run,
    steps: Sequence[int] | NDArray[np.int64],
    series: xr.Dataset,
    *,
    components: int | None = None,
    on_values: Callable[[NDArray[np.int64], NDArray[Any]], None] | None = None,
) -> NDArray[np.float64]:
    """Read chosen steps and project them on the basis that was fitted.

    Args:
        run: the run, or its directory.
        steps: global steps that were recorded, in any order.
        series: of an analysis of that run: ``pca_mean`` and ``pca_basis``, and which matrix they are of.
        components: how many of them, the widest first; by default all that were kept.
        on_values: called with what was read, for those who need it too: the places of some steps among the
            distinct ones in ascending order, and their values ``(steps, token, dim)``.

    Returns:
        ``(steps, token, component)`` float64, embedding units: (x - pca_mean) . pca_basis.

    Raises:
        AnalysisError: one of the steps was not recorded.
        DamagedError: stored bytes are not what was written.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    wanted = rows_of(opened, steps)
    name = matrix_of(opened, str(series.attrs["matrix"]))
    mean, basis = series["pca_mean"].to_numpy(), series["pca_basis"].to_numpy()[:components]
    rows, inverse = np.unique(wanted, return_inverse=True)
    # One row at a time after another: a block is decoded once for all of its rows.
    found = np.empty((len(rows), opened[name].shape[1], len(basis)))
    size = opened.layout.block_steps
    for number in np.unique(rows // size):
        mine = np.flatnonzero(rows // size == number)
        # Signalling NaNs say so where they are copied.
        with np.errstate(invalid="ignore", over="ignore"):
            # A row is a product of two matrices, which is several times as fast as a stack of them.
            block = values_of(opened, name, rows[mine])
            for place, values in zip(mine, block, strict=True):
                found[place] = (values.astype(np.float64) - mean) @ basis.T
        if on_values is not None:
            on_values(mine, block)
    return found[inverse]
