"""A run as the page looks at it: opened once, refreshed while it grows, read by one request at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.reading import matrix_of, values_of
from embevo.errors import AnalysisError
from embevo.run.reading.reader import Run, open_run
from embevo.run.reading.summary import summarize

# What is held of read rows at once; a block is read whole, because to read a row of it takes as long.
_READ_BYTES: Final = 256 << 20


@dataclass
class OpenedRun:
    """One run, and which of its matrices is shown.

    Attributes:
        path: of the run.
        name: what the page calls it.
        matrix: that is shown.
    """

    path: Path
    name: str
    matrix: str
    _run: Run
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(cls, path: Path, name: str, matrix: str | None = None) -> Self:
        """Open it.

        Raises:
            NotARunError: the path is not a run.
            AnalysisError: it has no steps, or no such matrix.
            DamagedError: metadata, manifest or journal are not what was written.
        """
        run = open_run(path)
        if not len(run.steps):
            raise AnalysisError(f"{run.path} has no steps yet: there is nothing to see")
        return cls(run.path, name, matrix_of(run, matrix), run)

    @contextmanager
    def reading(self) -> Iterator[Run]:
        """The run, for as long as nobody else reads or refreshes it."""
        with self._lock:
            yield self._run

    def refresh(self) -> None:
        """Take in the rows that were recorded since.

        Raises:
            RunReplacedError: another run was recorded in its place.
            DamagedError: metadata, manifest or journal are not what was written.
        """
        with self._lock:
            self._run.refresh()

    @property
    def state(self) -> str:
        """Whether it is being recorded: ``complete``, ``recording``, ``interrupted`` or ``unknown``."""
        return summarize(self.path).state

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(step, token, dim)`` of the matrix."""
        with self._lock:
            rows, tokens, dim = self._run[self.matrix].shape
            return rows, tokens, dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which the matrix was recorded."""
        with self._lock:
            return self._run.frame.dtype(self.matrix)

    @property
    def steps(self) -> NDArray[np.int64]:
        """``(step,)`` global steps of the rows."""
        with self._lock:
            return self._run.steps

    def values(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """``(step, token, dim)`` of rows by position, float32 or float64, exactly what was recorded."""
        with self._lock:
            return values_of(self._run, self.matrix, rows)

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Rows in order as ``(first row, values)``, as many at once as is good to hold."""
        _, tokens, dim = self.shape
        with self._lock:
            size = self._run.layout.block_steps
        size = max(1, min(size, _READ_BYTES // (4 * tokens * dim)))
        while start < stop:
            end = min((start // size + 1) * size, stop)
            yield start, self.values(slice(start, end))
            start = end
