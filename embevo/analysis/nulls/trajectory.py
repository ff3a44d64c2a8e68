"""The recorded trajectory of one matrix, read once, that surrogates are made of."""

import threading
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import AnalysisError
from embevo.run.format.widening import widen
from embevo.run.limits import available_memory
from embevo.run.reading.reader import Run

# Read, or made, at a time.
BLOCK_BYTES: Final = 16 << 20
# Of the memory that is left, what a whole trajectory may take.
_SHARE: Final = 0.5


class Trajectory:
    """A matrix ``(step, token, dim)`` of a run.

    Attributes:
        run: the run.
        name: of the matrix.
        shape: of all of it.
        dtype: in which the model has it.
    """

    def __init__(self, run: Run, name: str) -> None:
        """Look at a matrix of a run with a step at least.

        Raises:
            AnalysisError: the run has no steps.
        """
        if not len(run.steps):
            raise AnalysisError(f"{run.path} has no steps yet: there is nothing to compare with")
        self._reading = threading.Lock()
        self.run = run
        self.name = name
        _, tokens, dim = run[name].shape
        self.shape = (len(run.steps), tokens, dim)
        self.dtype = run[name].recorded

    @property
    def rows_at_once(self) -> int:
        """How many rows are good to work on, as float64."""
        return max(1, BLOCK_BYTES // (8 * self.shape[1] * self.shape[2]))

    def blocks(self) -> Iterator[NDArray[Any]]:
        """``(row, token, dim)`` consecutive rows in the recorded dtype, from the first to the last."""
        if "held" in self.__dict__:
            yield self.held
            return
        rows = max(self.rows_at_once, self.run.layout.block_steps)
        for start in range(0, self.shape[0], rows):
            # A run is read by one thread at a time.
            with self._reading:
                block = self.run[self.name].native[start : start + rows]
            yield block

    @cached_property
    def held(self) -> NDArray[Any]:
        """All of it in memory, in the recorded dtype.

        Raises:
            AnalysisError: it does not fit.
        """
        nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        room = available_memory()
        if nbytes > _SHARE * room.amount:
            raise AnalysisError(
                f"{self.name} of {self.run.path} takes {nbytes / 2**30:,.1f} GiB, and {room.source} leaves "
                f"{room.amount / 2**30:,.1f}: its steps are shuffled in memory. Choose another kind, or "
                "export fewer tokens or steps into a run of their own first."
            )
        return self.run[self.name].native[:]

    def hold(self) -> None:
        """Keep all of it in memory from here on, where it fits easily."""
        if int(np.prod(self.shape)) * self.dtype.itemsize <= BLOCK_BYTES:
            _ = self.held


def wide(values: NDArray[Any]) -> NDArray[np.float64]:
    """The values as float64."""
    return widen(values).astype(np.float64)


def rounded(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """float64 values in the recorded dtype, each rounded to the nearest."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(dtype)
