"""lattice_displacement(): by how many ULPs each element moved, up or down, at chosen steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.lattice import places, signed_displacement
from embevo.analysis.reading import matrix_of, rows_of, values_of
from embevo.run.reading.reader import Run, open_run


def lattice_displacement(
    run: str | Path | Run, steps: Sequence[int] | NDArray[np.int64], matrix: str | None = None
) -> NDArray[np.float64]:
    """Read chosen steps and the rows before them, and count the representable numbers between.

    Args:
        run: the run, or its directory.
        steps: global steps that were recorded, in any order.
        matrix: which one, where several were recorded.

    Returns:
        ``(steps, token, dim)`` signed displacement of each element from the row before, in ULPs of the
        recorded dtype; NaN in the first row, which has none before it, and from or to what is not a number.

    Raises:
        AnalysisError: one of the steps was not recorded, or there is no such matrix.
        DamagedError: stored bytes are not what was written.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    name = matrix_of(opened, matrix)
    dtype = opened.frame.dtype(name)
    wanted = rows_of(opened, steps)
    found = np.full((len(wanted), *opened[name].shape[1:]), np.nan)
    for place, row in enumerate(wanted.tolist()):
        if row:
            before, now = values_of(opened, name, slice(row - 1, row + 1))
            found[place] = signed_displacement(places(now, dtype), places(before, dtype))
            found[place][np.isnan(now) | np.isnan(before)] = np.nan
    return found
