"""Everything that is measured of a trajectory, and consecutive rows in which it is measured in one pass.

At no time is more of the trajectory in memory than what is handed over at once, the rows that lagged
differences need, and what is kept of every step. The time is proportional to the number of steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, Row
from embevo.analysis.measures.events import Event, Events
from embevo.analysis.measures.grid import spaced_rows
from embevo.analysis.measures.groups import Groups
from embevo.analysis.measures.measure import Measure, Whole, unheard
from embevo.analysis.measures.outline import Basis, Outline
from embevo.analysis.measures.registry import measures_of
from embevo.analysis.measures.snapshots import Snapshots
from embevo.analysis.measures.workers import Workers
from embevo.errors import ArgumentError
from embevo.run.format.settings import labels_of
from embevo.run.format.widening import widen
from embevo.run.reading.reader import Run


@dataclass(frozen=True, eq=False)
class Measurement:
    """What all measures have found of a run.

    Attributes:
        outline: of the matrix.
        arrays: by name of the variable.
        measures: for the numbers that they tell.
    """

    outline: Outline
    arrays: dict[str, NDArray[Any]]
    measures: tuple[Measure, ...]

    @property
    def events(self) -> list[Event]:
        """What happened to black holes, as far as it is listed."""
        return [event for of in self.measures if isinstance(of, Events) for event in of.listed]

    @property
    def numbers(self) -> dict[str, Any]:
        """What the measures add to the summary."""
        return {name: value for of in self.measures for name, value in of.tell().items()}


class Stretch:
    """Consecutive rows of a run, measured as they come.

    A run may be measured in stretches, each by a thread or process of its own that is given the row before
    its first; merged in order, they give what one pass over all rows gives, but for rounding.
    """

    def __init__(self, outline: Outline, start: int = 0, before: NDArray[Any] | None = None) -> None:
        """Expect rows ``start``, ``start + 1``, ... of a matrix.

        Args:
            outline: of the whole matrix.
            start: number of the first row.
            before: ``(token, dim)`` values of the row before it; needed unless that is the first of the run.

        Raises:
            ArgumentError: the row before is missing, or there is none.
        """
        if (before is None) != (start == 0):
            raise ArgumentError(
                f"a stretch from row {start} on {'needs the' if start else 'has no'} row before it"
            )
        self.outline = outline
        self.start = self.stop = start
        self.measures = tuple(measure(outline, start) for measure in measures_of(outline))
        self._snapshots = Snapshots(outline)
        self._before = None if before is None else Row.of(before, outline.dtype)
        self._first: NDArray[Any] | None = None
        self._last: NDArray[Any] | None = None

    def take(self, values: NDArray[Any]) -> None:
        """Measure the next rows, ``(step, token, dim)``, as recorded or as float32 that hold that exactly."""
        block = Block(self.outline, self.stop, values, self._before)
        for measure in self.measures:
            measure.take(block)
        self._snapshots.take(block)
        self._before = block.last
        if self._first is None:
            self._first = block.values[0].copy()
        self._last = block.values[-1].copy()
        self.stop = block.stop

    def merge(self, later: Self) -> None:
        """Take over what was measured of the stretch that comes right after; that is given up.

        Raises:
            ArgumentError: it begins somewhere else.
        """
        if later.start != self.stop:
            raise ArgumentError(f"rows up to {self.stop} and those from {later.start} on are not adjacent")
        for mine, other in zip(self.measures, later.measures, strict=True):
            mine.merge(other)
        self._snapshots.merge(later._snapshots)
        self._before, self.stop = later._before, later.stop
        self._first = later._first if self._first is None else self._first
        self._last = self._last if later._last is None else later._last

    def finish(self, jobs: int = 1, on_walks: Callable[[int, int], None] | None = None) -> Measurement:
        """What was found, of a stretch that is the whole run.

        Args:
            jobs: how many threads compare it with chance.
            on_walks: called now and then with how many steps of random walks were made, of how many.

        Raises:
            ArgumentError: rows of the run are missing.
        """
        if self._first is None or self._last is None or (self.start, self.stop) != (0, self.outline.rows):
            raise ArgumentError(
                f"rows {self.start} to {self.stop} were measured of a run of {self.outline.rows}: "
                "measure and merge the others first"
            )
        with Workers(jobs) as workers:
            whole = Whole(
                self._first,
                self._last,
                self._snapshots.finish(),
                workers=workers,
                on_walks=on_walks or unheard,
            )
            _finish(self.measures, whole)
        return Measurement(self.outline, whole.arrays, self.measures)


def _finish(measures: Sequence[Measure], whole: Whole) -> None:
    """Have measures give their arrays, each after those before it."""
    # What gives none is waited for by nobody, and takes longest.
    silent = next((place for place, measure in enumerate(measures) if not measure.variables), len(measures))
    for measure in measures[:silent]:
        whole.arrays.update(measure.finish(whole))
    if silent < len(measures):
        others = whole.workers.submit(partial(_finish_in_turn, measures[silent + 1 :], whole))
        whole.arrays.update(measures[silent].finish(whole))
        others.result()


def _finish_in_turn(measures: Sequence[Measure], whole: Whole) -> None:
    for measure in measures:
        whole.arrays.update(measure.finish(whole))


def outline_of(
    run: Run,
    name: str,
    *,
    basis: Basis = "final",
    min_lag: float = 10.0,
    max_share: float = 0.1,
    measures: tuple[str, ...] | None = None,
    exact: bool = False,
) -> Outline:
    """What is known of a matrix of a run before it is read, and what is asked of it."""
    _, tokens, dim = run[name].shape
    known = run.tokens
    own = {group: np.searchsorted(run.frame.token_ids, ids) for group, ids in run.groups.items()}
    return Outline(
        steps=run.steps,
        tokens=tokens,
        dim=dim,
        dtype=run.frame.dtype(name),
        groups=Groups.of(tokens, known, own),
        scalars={scalar: run[scalar][: len(run.steps)] for scalar in run.frame.scalars},
        token_count=None if known is None else known.count,
        token_ids=None if run.frame.tokens is None else run.frame.token_ids,
        loss_labels=labels_of(run.attributes),
        basis=basis,
        min_lag=min_lag,
        max_share=max_share,
        logits=_logits(run),
        measures=measures,
        exact=exact,
    )


def _logits(run: Run) -> NDArray[np.float64] | None:
    """``(measured_step, token)`` mean logits of the whole vocabulary, where they were recorded."""
    spec = run.frame.by_name.get("logits")
    if spec is None or spec.dimensions != ("token",) or run.frame.tokens is not None:
        return None
    rows = spaced_rows(len(run.steps))
    return np.asarray(widen(run["logits"][rows]), np.float64)
