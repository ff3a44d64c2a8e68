"""project(): where the tokens are, at chosen steps, in the plane of the principal components."""

from collections.abc import Sequence
from pathlib import Path

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
) -> NDArray[np.float64]:
    """Read chosen steps and project them on the basis that was fitted.

    Args:
        run: the run, or its directory.
        steps: global steps that were recorded, in any order.
        series: of an analysis of that run: ``pca_mean`` and ``pca_basis``, and which matrix they are of.
        components: how many of them, the widest first; by default all that were kept.

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
    for block in np.unique(rows // size):
        mine = np.flatnonzero(rows // size == block)
        # Signalling NaNs say so where they are copied.
        with np.errstate(invalid="ignore", over="ignore"):
            # A row is a product of two matrices, which is several times as fast as a stack of them.
            for place, values in zip(mine, values_of(opened, name, rows[mine]), strict=True):
                found[place] = (values.astype(np.float64) - mean) @ basis.T
    return found[inverse]
