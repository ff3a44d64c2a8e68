"""The matrices of a run as float32 or float64, a few rows at a time."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import AnalysisError
from embevo.run.format.dtypes import FLOATS
from embevo.run.format.frame import PLAIN
from embevo.run.format.widening import widen
from embevo.run.reading.reader import Run

# What is worked on at once, as float64: a few copies of it fit into the cache of a core.
_PART_BYTES: Final = 1 << 21
# A part of a large matrix is one row of it, whatever that takes.
_BLOCK_BYTES: Final = 256 << 20


def matrix_of(run: Run, name: str | None) -> str:
    """The matrix to look at: the one that is named, or ``embeddings``, or the first there is.

    Raises:
        AnalysisError: there is none of that name, or it is not a matrix ``(token, dim)`` of floats.
    """
    arrays = run.frame.by_name
    names = [array for array, spec in arrays.items() if spec.dimensions == PLAIN and spec.dtype in FLOATS]
    if name in names or (name is None and names):
        return name or ("embeddings" if "embeddings" in names else names[0])
    known = f"its matrices are {', '.join(names)}" if names else "it has none"
    if name is None:
        raise AnalysisError(
            f"{run.path} records no matrix (token, dim) of floats: there is nothing to measure"
        )
    if name in arrays:
        found = arrays[name]
        raise AnalysisError(
            f"{name} of {run.path} is {found.dtype} of shape {found.shape}, ({', '.join(found.dimensions)}); "
            f"what is measured is a matrix (token, dim) of floats, and {known}"
        )
    raise AnalysisError(f"{run.path} has no matrix {name!r}; {known}")


def values_of(run: Run, name: str, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
    """``(step, token, dim)`` of rows by position: float64, or float32 that hold what was recorded exactly."""
    return widen(run[name][rows])


def block_rows(run: Run, name: str) -> int:
    """How many rows of a matrix are read at once: a block, unless it is very large."""
    _, tokens, dim = run[name].shape
    return max(1, min(run.layout.block_steps, _BLOCK_BYTES // (8 * tokens * dim)))


def part_rows(run: Run, name: str) -> int:
    """How many rows of a matrix are good to work on at once."""
    _, tokens, dim = run[name].shape
    return max(1, _PART_BYTES // (8 * tokens * dim))


def rows_of(run: Run, steps: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of recorded global steps.

    Raises:
        AnalysisError: one of them was not recorded.
    """
    wanted = np.asarray(steps, np.int64)
    missing = sorted(set(wanted.tolist()) - set(run.steps.tolist()))
    if missing:
        raise AnalysisError(f"{run.path} has no step {missing[0]}: run.steps lists those that were recorded")
    return np.searchsorted(run.steps, wanted)
