"""black_holes(): which tokens are in which black hole, at chosen steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.identity import representatives
from embevo.analysis.measures.singularities import membership
from embevo.analysis.reading import matrix_of, rows_of, values_of
from embevo.run.reading.reader import Run, open_run


def black_holes(
    run: str | Path | Run, steps: Sequence[int] | NDArray[np.int64], matrix: str | None = None
) -> NDArray[np.int64]:
    """Read chosen steps and find the tokens whose rows are the same in every bit.

    Args:
        run: the run, or its directory.
        steps: global steps that were recorded, in any order.
        matrix: which one, where several were recorded.

    Returns:
        ``(steps, token)`` int64 black hole of each token: 0 is the largest of that step, -1 means none.

    Raises:
        AnalysisError: one of the steps was not recorded, or there is no such matrix.
        DamagedError: stored bytes are not what was written.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    name = matrix_of(opened, matrix)
    rows, inverse = np.unique(rows_of(opened, steps), return_inverse=True)
    found = np.empty((len(rows), opened[name].shape[1]), np.int64)
    # One row at a time after another: a block is decoded once for all of its rows.
    size = opened.layout.block_steps
    for block in np.unique(rows // size):
        mine = np.flatnonzero(rows // size == block)
        same = representatives(values_of(opened, name, rows[mine]))
        for place, row in zip(mine, same, strict=True):
            found[place] = membership(row)
    return found[inverse]
