"""The small charts along the slider, and the events: what an analysis has found, and what was recorded."""

import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.analyze import Analysis, analyze
from embevo.errors import EmbevoError
from embevo.viewer.opened import OpenedRun

# Variables of the analysis over (step, group) that are shown, with their titles and units.
_MEASURED: Final = (
    ("radius_rms", "RMS radius", "embedding units"),
    ("distinct_rows", "distinct vectors", "tokens"),
    ("displacement_peculiar_rms", "displacement a step, beside the common one", "embedding units"),
    ("displacement_bulk", "displacement a step of the centroid", "embedding units"),
)
# More rows than a chart has pixels are thinned out to so many, evenly; the page says so.
_MOST_ROWS: Final = 20_000
_MOST_EVENTS: Final = 5_000
# One run is measured after the other: two at once would take twice the memory, and no less time.
_ONE_AT_A_TIME: Final = threading.Lock()
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
        self._failure = ""
        self._stopping = False

    def stop(self) -> None:
        """Measure no further, and wait until the thread has seen it."""
        self._stopping = True
        thread = self._thread
        if thread is not None:
            thread.join()

    def measured(self) -> dict[str, Any]:
        """What there is when all is measured; see :meth:`tell`."""
        self.tell()
        thread = self._thread
        if thread is not None:
            thread.join()
        return self.tell()

    def tell(self) -> dict[str, Any]:
        """What there is so far.

        Returns:
            ``charts``: each with name, title, unit and lines, by group, of a value for each of ``rows``;
            ``events``: row, step, kind, tokens by position, sizes before and after; ``measuring``: rows done
            and all rows, None when it is over; ``failure``: why there is no more, in words.
        """
        rows = self._opened.recorded_rows
        with self._lock:
            if self._thread is None and self._rewinds != self._opened.rewinds:
                self._rewinds, self._found, self._measured_rows = self._opened.rewinds, None, 0
            due = self._measured_rows == 0 or rows >= self._measured_rows * (1 + _GROWN)
            complete = rows != self._measured_rows and self._opened.state == "complete"
            wanted = due or complete
            if self._thread is None and not self._failure and not self._stopping and wanted:
                self._thread = threading.Thread(target=self._measure, name="embevo-measuring", daemon=True)
                self._thread.start()
            measuring = None if self._thread is None else list(self._done)
            found = self._found or {"charts": [], "events": [], "events_left_out": 0, "measured_rows": 0}
        return {**found, "charts": [*self._recorded(), *found["charts"]], "measuring": measuring,
                "failure": self._failure}  # fmt: skip

    def _recorded(self) -> list[dict[str, Any]]:
        """Charts of the scalars that were recorded."""
        rows = slice(None) if self._opened.chosen is None else self._opened.chosen
        with self._opened.reading() as run:
            scalars = {name: np.asarray(run[name][:], np.float64)[rows] for name in run.frame.scalars}
        return [
            _chart(name, name.replace("_", " "), "", {"": values})
            for name, values in scalars.items()
            if np.isfinite(values).any()
        ]

    def _measure(self) -> None:
        # What nobody has foreseen is printed where the page is served from, and ends nothing but this.
        found, failure = None, "the measuring has ended with an error, which is printed on the terminal"
        try:
            with _ONE_AT_A_TIME:
                analysis = analyze(self._opened.path, matrix=self._opened.matrix, on_rows=self._on_rows)
            found, failure = _told(analysis, self._opened), ""
        except _StoppedError:
            failure = ""
        except (EmbevoError, OSError) as error:
            failure = str(error)
        finally:
            with self._lock:
                self._thread = None
                self._failure = failure
                if found is not None:
                    self._found = found
                    self._measured_rows = found["measured_rows"]

    def _on_rows(self, done: int, rows: int) -> None:
        if self._stopping:
            raise _StoppedError
        self._done = (done, rows)


def _told(analysis: Analysis, opened: OpenedRun) -> dict[str, Any]:
    series = analysis.series
    measured = series["step"].to_numpy()
    # A run may have grown while it was measured.
    steps = opened.steps[opened.steps <= measured[-1]]
    shown = np.searchsorted(measured, steps)
    groups = [str(name) for name in series["group"].to_numpy()]
    sizes = series["member"].sum("token").to_numpy()
    charts = []
    for name, title, unit in _MEASURED:
        values = series[name].transpose("step", "group").to_numpy()[shown]
        lines = {group: values[:, place] for place, group in enumerate(groups) if sizes[place]}
        charts.append(_chart(name, title, unit, lines))
    with opened.reading() as run:
        ids = run.frame.token_ids
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
    return {
        "charts": charts,
        "events": sorted([*events, *freezing[:_MOST_EVENTS]], key=lambda event: int(event["row"])),
        "events_left_out": left_out,
        "measured_rows": len(measured),
    }


def _thinned(rows: int) -> NDArray[np.int64]:
    """All rows, or evenly spaced ones, with both ends."""
    return np.unique(np.linspace(0, rows - 1, min(rows, _MOST_ROWS)).round().astype(np.int64))


def _chart(name: str, title: str, unit: str, lines: dict[str, NDArray[Any]]) -> dict[str, Any]:
    count = len(next(iter(lines.values())))
    rows = _thinned(count)
    return {
        "name": name,
        "title": title,
        "unit": unit,
        # Every row, from the first on, needs no list.
        "rows": None if len(rows) == count else rows.tolist(),
        "lines": {group: _plain(values[rows]) for group, values in lines.items()},
    }


def _plain(values: NDArray[Any]) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]
