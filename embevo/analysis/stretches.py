"""Measuring a run in stretches, several at a time, and merging them in order.

Where a run is cut depends on the run alone, and neighbours are merged from the first to the last. So the
numbers are the same, to the last bit, however many threads measure, and wherever they do.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from embevo.analysis.measurement import Measurement, Stretch, outline_of
from embevo.analysis.measures.outline import Outline
from embevo.analysis.reading import block_rows, part_rows
from embevo.errors import ArgumentError
from embevo.run.format.widening import widen
from embevo.run.limits import available_cores
from embevo.run.reading.reader import Run

# Merging two stretches takes as long as measuring some tens of rows, of a large matrix some few.
_FEWEST_ROWS: Final = 256
_FEWEST_LARGE_ROWS: Final = 64
# So many are enough to keep cores busy until the end.
_ENOUGH_STRETCHES: Final = 8
_MOST_STRETCHES: Final = 64
_LOOK_SECONDS: Final = 0.1


def bounds_of(run: Run, name: str) -> list[int]:
    """The first row of each stretch of a matrix, and the number of rows: no block is cut in two."""
    rows, block = len(run.steps), block_rows(run, name)
    fewest = _FEWEST_ROWS
    if part_rows(run, name) == 1:
        fewest = max(_FEWEST_LARGE_ROWS, min(_FEWEST_ROWS, rows // _ENOUGH_STRETCHES))
    size = block * -(-max(fewest, -(-rows // _MOST_STRETCHES)) // block)
    return [*range(0, rows, size), rows]


def jobs_of(jobs: int | None) -> int:
    """How many threads to measure on: by default as many as there are cores for this process.

    Raises:
        ArgumentError: fewer than one.
    """
    if jobs is None:
        return max(1, int(available_cores().amount))
    if jobs < 1:
        raise ArgumentError(f"jobs is the number of threads to measure on, at least 1, not {jobs}")
    return jobs


def measure(
    run: Run,
    name: str,
    on_rows: Callable[[int], None] | None = None,
    outline: Outline | None = None,
    jobs: int | None = None,
    *,
    on_walks: Callable[[int, int], None] | None = None,
) -> Measurement:
    """Measure a matrix of a run.

    Each thread has a block of the run in memory, copies of the part of it that it works on, and the rows that
    lagged differences need. At most one stretch is waiting to be merged beside those that are measured.

    Args:
        run: the run.
        name: of the matrix.
        on_rows: called now and then with the number of rows that have been measured.
        outline: of the matrix; by default with what is usually asked of it.
        jobs: how many threads measure; by default as many as there are cores.
        on_walks: called then, with how many steps of random walks were made, and how many will be.

    Raises:
        ArgumentError: ``jobs`` is less than 1.
        DamagedError: stored bytes are not what was written.
    """
    work = _Work(run, name, outline_of(run, name) if outline is None else outline, on_rows)
    threads = jobs_of(jobs)
    with single_threaded():
        return work.on_threads(min(threads, len(work.bounds) - 1)).finish(threads, on_walks)


def stretch_of(run: Run, name: str, outline: Outline, start: int, stop: int) -> Stretch:
    """Measure the rows from ``start`` to ``stop``, two of :func:`bounds_of`."""
    return _Work(run, name, outline).measure(start, stop)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let products of matrices take one core each: there is a thread for every core already."""
    with threadpool_limits(1, "blas"):
        yield


class _Work:
    """The stretches of a matrix, and what threads that measure them share.

    Attributes:
        bounds: first rows of the stretches, and the number of rows.
    """

    def __init__(
        self, run: Run, name: str, outline: Outline, on_rows: Callable[[int], None] | None = None
    ) -> None:
        self.bounds = bounds_of(run, name)
        self._run = run
        self._name = name
        self._outline = outline
        self._on_rows = on_rows
        self._measured: list[int] = []
        # A run is read by one thread at a time: the checks of its blocks are not made for several.
        self._reading = threading.Lock()
        # Rows before stretches that were read with others, before the stretch was begun.
        self._before: dict[int, NDArray[Any]] = {}
        self._awaited = set(self.bounds[1:-1])
        self._stopped = threading.Event()

    def on_threads(self, jobs: int) -> Stretch:
        """Measure all stretches, so many at a time, and merge them in order."""
        with ThreadPoolExecutor(jobs, "embevo-measure") as threads:
            try:
                return merged(self._in_order(threads, jobs))
            finally:
                self._stopped.set()
                threads.shutdown(wait=True, cancel_futures=True)

    def _in_order(self, threads: ThreadPoolExecutor, jobs: int) -> Iterator[Stretch]:
        waiting = list(pairwise(self.bounds))
        running: list[Future[Stretch]] = []
        while waiting or running:
            while waiting and len(running) < jobs + 1:
                running.append(threads.submit(self.measure, *waiting.pop(0)))
            while not wait(running[:1], _LOOK_SECONDS).done:
                self._tell()
            yield running.pop(0).result()
        self._tell()

    def _tell(self) -> None:
        if self._on_rows is not None:
            self._on_rows(sum(self._measured))

    def measure(self, start: int, stop: int) -> Stretch:
        """Measure the rows from ``start`` to ``stop``, and stop where that is not wanted any more."""
        block, part = block_rows(self._run, self._name), part_rows(self._run, self._name)
        stretch = Stretch(self._outline, start, self._row_before(start))
        # Threads do not inherit how numpy takes what is not a number: here it makes others that are none.
        with np.errstate(invalid="ignore", over="ignore"):
            for first in range(start, stop, block):
                values = self._read(first, min(first + block, stop))
                for begin in range(0, len(values), part):
                    if self._stopped.is_set():
                        raise CancelledError
                    stretch.take(values[begin : begin + part])
                    self._measured.append(len(values[begin : begin + part]))
        return stretch

    def _row_before(self, start: int) -> NDArray[Any] | None:
        if not start:
            return None
        with self._reading:
            self._awaited.discard(start)
            known = self._before.pop(start, None)
            return widen(self._rows(start - 1, start)[0] if known is None else known)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        with self._reading:
            values = self._rows(start, stop)
            if stop in self._awaited:
                self._before[stop] = values[-1].copy()
        return values

    def _rows(self, start: int, stop: int) -> NDArray[Any]:
        """As recorded: 16 bits are widened a piece at a time, which stays in the cache of a core."""
        return self._run[self._name].native[start:stop]


def merged(stretches: Iterator[Stretch]) -> Stretch:
    """Stretches that come in order, as one."""
    whole = next(stretches)
    for stretch in stretches:
        whole.merge(stretch)
    return whole
