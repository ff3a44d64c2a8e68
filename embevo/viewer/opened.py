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
from embevo.run.format.widening import widen
from embevo.run.manifest.entry import Rewound
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run, open_run
from embevo.run.reading.summary import summarize

# What is held of read rows at once; a block is read whole, because to read a row of it takes as long.
_READ_BYTES: Final = 1 << 30
# Blocks of more elements are vast: not all of one is read where a part is enough.
_WHOLE_ELEMENTS: Final = 1 << 24
# Into so many stretches, and so many times fewer of them, tokens are sampled.
_STRETCHES: Final = 16
_SAMPLED: Final = 8
# Of a run of which some rows are shown, so many are read together.
_CHOSEN_ROWS: Final = 64


@dataclass
class OpenedRun:
    """One run, and which of its matrices is shown.

    Attributes:
        path: of the run.
        name: what the page calls it.
        matrix: that is shown.
        chosen: ``(step,)`` the rows of the run that are shown, ascending; None for all, also those to come.
        rewinds: how often it has been rewound; rows that were read before another number was may be others.
    """

    path: Path
    name: str
    matrix: str
    _run: Run
    chosen: NDArray[np.int64] | None = None
    rewinds: int = 0
    _manifest: Manifest = field(init=False)
    _held: tuple[tuple[int, int, int], NDArray[Any]] | None = None
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

    def __post_init__(self) -> None:
        """Count the rewinds so far."""
        self._manifest = Manifest(RunPaths(self.path).manifest)
        self.rewinds = _rewinds(self._manifest)

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
            self.notice_rewinds()

    def notice_rewinds(self) -> None:
        """Take in the rows anew if the run was rewound since; errors are those of :meth:`refresh`."""
        with self._lock:
            self._manifest.refresh()
            rewinds = _rewinds(self._manifest)
            if rewinds != self.rewinds:
                self._run.refresh()
                self.rewinds = rewinds

    @property
    def state(self) -> str:
        """Whether it is being recorded: ``complete``, ``recording``, ``interrupted`` or ``unknown``."""
        return summarize(self.path).state

    def thin_out(self, most: int) -> None:
        """Show at most so many rows: half of them evenly spaced, half evenly in the logarithm."""
        rows = len(self._run.steps)
        if rows > most:
            even = np.linspace(0, rows - 1, most // 2)
            early = np.geomspace(1, rows, most - most // 2) - 1
            self.chosen = np.unique(np.rint(np.concatenate([even, early])).astype(np.int64))

    @property
    def recorded_rows(self) -> int:
        """How many rows the run has, shown or not."""
        with self._lock:
            return len(self._run.steps)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(step, token, dim)`` of what is shown."""
        with self._lock:
            rows, tokens, dim = self._run[self.matrix].shape
            return rows if self.chosen is None else len(self.chosen), tokens, dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which the matrix was recorded."""
        with self._lock:
            return self._run.frame.dtype(self.matrix)

    @property
    def steps(self) -> NDArray[np.int64]:
        """``(step,)`` global steps of the rows that are shown."""
        with self._lock:
            return self._run.steps if self.chosen is None else self._run.steps[self.chosen]

    @property
    def block_rows(self) -> int:
        """How many rows are read together."""
        with self._lock:
            return self._run.layout.block_steps if self.chosen is None else _CHOSEN_ROWS

    def values(self, rows: slice) -> NDArray[Any]:
        """``(step, token, dim)`` of rows by position, float32 or float64, exactly what was recorded."""
        with self._lock:
            wanted = rows if self.chosen is None else self.chosen[rows]
            return values_of(self._run, self.matrix, wanted)

    def sampled(self, rows: slice) -> NDArray[Any]:
        """``(step, token, dim)`` likewise, of an eighth of the tokens, in stretches that lie evenly.

        Neighbouring tokens lie in one chunk, so that an eighth is about as much as is decoded.
        """
        _, tokens, _ = self.shape
        length = max(1, tokens // (_STRETCHES * _SAMPLED))
        firsts = np.arange(_STRETCHES) * tokens // _STRETCHES
        chosen = np.unique((firsts[:, None] + np.arange(length)).ravel())
        with self._lock:
            wanted = rows if self.chosen is None else self.chosen[rows]
            return widen(self._run[self.matrix][wanted, chosen[chosen < tokens]])

    def column(self, token: int) -> NDArray[Any]:
        """``(step, dim)`` of one token by position, likewise."""
        with self._lock:
            values = widen(np.asarray(self._run[self.matrix][:, token]))
            return values if self.chosen is None else values[self.chosen]

    def is_vast(self, rows: int) -> bool:
        """Whether so many rows are more than is read where a part of them is enough."""
        _, tokens, dim = self.shape
        return rows * tokens * dim > _WHOLE_ELEMENTS

    def stretches(self, start: int, stop: int) -> list[tuple[int, int]]:
        """As ``(first row, row after the last)``, what is read where the rows from start to stop are wanted.

        That is whole blocks, because what is asked for next is often in them, too. Of a vast block that is
        far from what was read last it is only what is wanted: a picture of one row need not wait for others.
        """
        rows, tokens, dim = self.shape
        size = max(1, min(self.block_rows, _READ_BYTES // (4 * tokens * dim)))
        begin, end = self._held_rows()
        if begin <= start and stop <= end:
            return [(begin, end)]
        first, last = start // size * size, min(-(-stop // size) * size, rows)
        is_near = begin < end and first <= end and begin <= last
        if self.is_vast(size) and not is_near and stop - start < last - first <= size:
            return [(start, stop)]
        return [(begin, min(begin + size, rows)) for begin in range(first, stop, size)]

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Rows in order as ``(first row, values)``, as many at once as is good to hold.

        What was read last is held.
        """
        for first, last in self.stretches(start, stop):
            values = self._stretch(first, last)
            begin = max(start, first)
            yield begin, values[begin - first : min(stop, last) - first]

    def _held_rows(self) -> tuple[int, int]:
        """First row, and that after the last, of what is held; equal where nothing is."""
        held = self._held
        return held[0][:2] if held is not None and held[0][2] == self.rewinds else (0, 0)

    def _stretch(self, first: int, last: int) -> NDArray[Any]:
        asked = (first, last, self.rewinds)
        held = self._held
        if held is None or held[0] != asked:
            # The one before is let go of first, so that there are not two.
            self._held = held = None
            self._held = held = (asked, self.values(slice(first, last)))
        return held[1]


def _rewinds(manifest: Manifest) -> int:
    return sum(isinstance(entry, Rewound) for entry in manifest.entries)
