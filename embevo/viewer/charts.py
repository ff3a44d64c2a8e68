"""The small charts along the slider, and the events: what an analysis has found, and what was recorded."""

import threading
from math import prod
from typing import Any, Final

import numpy as np

from embevo.analysis.analyze import Analysis, analyze
from embevo.errors import EmbevoError
from embevo.run.paths import RunPaths
from embevo.viewer.chart import Chart
from embevo.viewer.more_charts import lines_of, more_charts
from embevo.viewer.opened import OpenedRun

# Variables of the analysis over (step, group) that are shown, with their titles and units.
_MEASURED: Final = (
    ("radius_rms", "RMS radius", "embedding units"),
    ("distinct_rows", "distinct vectors", "tokens"),
    ("displacement_peculiar_rms", "displacement a step, beside the common one", "embedding units"),
    ("displacement_bulk", "displacement a step of the centroid", "embedding units"),
)
_MOST_EVENTS: Final = 5_000
# One run is measured after the other: two at once would take twice the memory, and no less time.
_ONE_AT_A_TIME: Final = threading.Lock()
# Runs of more elements take minutes to be measured: that waits until it is asked for.
_VAST_ELEMENTS: Final = 1 << 29
# A run that grows is measured anew when it has grown by this share.
_GROWN: Final = 0.25


class _StoppedError(Exception):
    """Nobody looks any more."""


class Charts:
    """Of one matrix. Measuring is done by a thread of its own, from the first time that anybody asks."""

    def __init__(self, opened: OpenedRun) -> None:
        """Nothing is measured yet."""
        self._opened = opened
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._done = (0, 0)
        self._measured_rows = 0
        self._rewinds = opened.rewinds
        self._found: dict[str, Any] | None = None
        self._more: dict[str, Chart] = {}
        self._failure = ""
        self._stopping = False
        # What was measured once is wanted, and is likely to be there.
        self._wanted = prod(opened.shape) <= _VAST_ELEMENTS or RunPaths(opened.path).analysis_json.exists()

    def measure(self) -> None:
        """Measure the run also if that takes long."""
        self._wanted = True

    def stop(self) -> None:
        """Measure no further, and wait until the thread has seen it."""
        self._stopping = True
        thread = self._thread
        if thread is not None:
            thread.join()

    def measured(self) -> dict[str, Any]:
        """What there is when all is measured, however long that takes; see :meth:`tell`."""
        self.measure()
        self.tell()
        thread = self._thread
        if thread is not None:
            thread.join()
        return self.tell()

    def tell(self) -> dict[str, Any]:
        """What there is so far.

        Returns:
            ``charts``: each with name, title, unit and lines, by group, of a value for each of ``rows``;
            ``offered``: name, title and unit of those that :meth:`more` gives;
            ``events``: row, step, kind, tokens by position, sizes before and after; ``measuring``: rows done
            and all rows, None when it is over; ``waits``: how many numbers it does not begin to measure until
            :meth:`measure` is called, because they are so many, else 0; ``failure``: why there is no more, in
            words.
        """
        rows = self._opened.recorded_rows
        with self._lock:
            if self._thread is None and self._rewinds != self._opened.rewinds:
                self._rewinds, self._found, self._measured_rows = self._opened.rewinds, None, 0
                self._more = {}
            due = self._measured_rows == 0 or rows >= self._measured_rows * (1 + _GROWN)
            complete = rows != self._measured_rows and self._opened.state == "complete"
            wanted = self._wanted and (due or complete)
            if self._thread is None and not self._failure and not self._stopping and wanted:
                self._thread = threading.Thread(target=self._measure, name="embevo-measuring", daemon=True)
                self._thread.start()
            measuring = None if self._thread is None else list(self._done)
            found = self._found or {"charts": [], "events": [], "events_left_out": 0, "measured_rows": 0}
            offered = [chart.head() for chart in self._more.values()]
        return {
            **found,
            "charts": [*self._recorded(), *found["charts"]],
            "offered": offered,
            "measuring": measuring,
            "waits": 0 if self._wanted else prod(self._opened.shape),
            "failure": self._failure,
        }

    def more(self, name: str) -> dict[str, Any] | None:
        """One of the offered charts; None where there is none of this name, or none yet."""
        with self._lock:
            chart = self._more.get(name)
        return None if chart is None else chart.tell()

    def _recorded(self) -> list[dict[str, Any]]:
        """Charts of the scalars that were recorded."""
        rows = slice(None) if self._opened.chosen is None else self._opened.chosen
        with self._opened.reading() as run:
            scalars = {name: np.asarray(run[name][:], np.float64)[rows] for name in run.frame.scalars}
        return [
            Chart.of_all(name, name.replace("_", " "), "", {"": values}).tell()
            for name, values in scalars.items()
            if np.isfinite(values).any()
        ]

    def _measure(self) -> None:
        # What nobody has foreseen is printed where the page is served from, and ends nothing but this.
        found, failure = None, "the measuring has ended with an error, which is printed on the terminal"
        more: dict[str, Chart] = {}
        try:
            with _ONE_AT_A_TIME:
                analysis = analyze(self._opened.path, matrix=self._opened.matrix, on_rows=self._on_rows)
            found, more, failure = *_told(analysis, self._opened), ""
        except _StoppedError:
            failure = ""
        except (EmbevoError, OSError) as error:
            failure = str(error)
        finally:
            with self._lock:
                self._thread = None
                self._failure = failure
                if found is not None:
                    self._found, self._more = found, more
                    self._measured_rows = found["measured_rows"]

    def _on_rows(self, done: int, rows: int) -> None:
        if self._stopping:
            raise _StoppedError
        self._done = (done, rows)


def _told(analysis: Analysis, opened: OpenedRun) -> tuple[dict[str, Any], dict[str, Chart]]:
    series = analysis.series
    measured = series["step"].to_numpy()
    # A run may have grown while it was measured.
    steps = opened.steps[opened.steps <= measured[-1]]
    shown = np.searchsorted(measured, steps)
    charts = [
        Chart.of_all(
            name, title, unit, {group: values[shown] for group, values in lines_of(series, name).items()}
        )
        for name, title, unit in _MEASURED
    ]
    with opened.reading() as run:
        ids, scalars = run.frame.token_ids, run.frame.scalars
    known = {*(chart.name for chart in charts), *scalars}
    events = [
        {
            "row": int(np.searchsorted(steps, event["step"])),
            "step": event["step"],
            "kind": event["kind"],
            "tokens": np.searchsorted(ids, event["tokens"]).tolist(),
            "before": event["before"],
            "after": event["after"],
        }
        for event in analysis.events[:_MOST_EVENTS]
    ]
    moved = series["last_motion"].to_numpy()
    freezing = [
        {"row": int(np.searchsorted(steps, step)), "step": int(step), "kind": "freezing", "before": [],
         "after": [], "tokens": np.flatnonzero(moved == step).tolist()}
        for step in np.unique(moved[(moved >= 0) & (moved < measured[-1])]).tolist()
    ]  # fmt: skip
    left_out = max(0, len(analysis.events) - _MOST_EVENTS) + max(0, len(freezing) - _MOST_EVENTS)
    told = {
        "charts": [chart.tell() for chart in charts],
        "events": sorted([*events, *freezing[:_MOST_EVENTS]], key=lambda event: int(event["row"])),
        "events_left_out": left_out,
        "measured_rows": len(measured),
    }
    return told, more_charts(series, steps, known)
