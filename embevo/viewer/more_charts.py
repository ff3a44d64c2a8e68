"""The charts that the page offers beside its usual ones: what an analysis has found over the steps."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.measures.registry import VARIABLES
from embevo.viewer.chart import Chart

# Axes of what is a line for each group, or one line. What is costly is measured at some steps alone.
_OVER_STEPS: Final = ("step", "measured_step")
_ALONE: Final = ((), ("group",))


def more_charts(series: xr.Dataset, steps: NDArray[np.int64], known: Collection[str]) -> dict[str, Chart]:
    """By name, in the order of docs/analysis.md, what may be shown of an analysis.

    Args:
        series: of the analysis.
        steps: ``(step,)`` that the page shows, ascending; those that were not measured have no values.
        known: names of what the page shows already.
    """
    found = {}
    for name, variable in VARIABLES.items():
        if name in known or name not in series or name in _OVER_STEPS:
            continue
        over, *rest = variable.dimensions
        if over in _OVER_STEPS and tuple(rest) in _ALONE and series[name].dtype.kind in "fiu":
            chart = _chart(series, name, steps)
            if chart.lines:
                found[name] = chart
    return found


def lines_of(series: xr.Dataset, name: str) -> Mapping[str, NDArray[Any]]:
    """By name of the group, or under "" where there is none, ``(step,)`` of the values that are numbers."""
    array = series[name]
    if "group" not in array.dims:
        lines = {"": array.to_numpy()}
    else:
        over = next(axis for axis in array.dims if axis != "group")
        values = array.transpose(over, "group").to_numpy()
        members = series["member"].sum("token").to_numpy()
        groups = [str(group) for group in series["group"].to_numpy()]
        lines = {group: values[:, place] for place, group in enumerate(groups) if members[place]}
    return lines


def _chart(series: xr.Dataset, name: str, steps: NDArray[np.int64]) -> Chart:
    variable = VARIABLES[name]
    measured = series[variable.dimensions[0]].to_numpy()
    # A page may show some of the steps only, and other ones than were measured.
    rows = np.flatnonzero(np.isin(steps, measured))
    at = np.searchsorted(measured, steps[rows])
    lines = {
        group: values[at].astype(np.float64)
        for group, values in lines_of(series, name).items()
        if len(at) and np.isfinite(values[at].astype(np.float64)).any()
    }
    unit = "" if variable.unit == "1" else variable.unit
    return Chart(name, variable.label, unit, rows, lines, of=len(steps))
