"""Displacement in units of the last place against step, with the phases in which dead tokens come to rest."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.binning import log_bins
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import shown, tokens_of
from embevo.analysis.figures.style import COLOURS, FAINT, INK, interval_between, plain_log_axis, step_axis
from embevo.errors import NothingToDrawError

# Okabe and Ito's orange.
_LINF: Final = "#B87A00"
_PER_DECADE: Final = 40
_LABEL: Final = 8.0


def draw(analysis: Analysis) -> Drawing:
    """Draw it for the dead tokens, or for all where there are none; NothingToDrawError if nothing moves."""
    series = analysis.series
    steps = series["step"].to_numpy()
    drawing = Drawing.of(analysis, height=3.8)
    group = "dead" if "dead" in shown(analysis, drawing) else "all"
    ids = tokens_of(analysis, group)
    l2, linf = (np.nan_to_num(series[name].to_numpy()[:, ids]) for name in ("ulp_l2", "ulp_linf"))
    if not (l2 > 0).any():
        raise NothingToDrawError(
            f"no {'token' if group == 'all' else f'{group} token'} moves between the recorded steps"
        )
    axes = drawing.figure.add_subplot()
    bins = log_bins(steps, _PER_DECADE)
    at = steps[bins]
    largest = _or_nan(np.maximum.reduceat(l2.max(axis=1), bins))
    axes.plot(at, largest, color=COLOURS[group], linewidth=0.6, alpha=0.7)
    for values, colour, name, shift in ((l2, COLOURS[group], "L2", 6), (linf, _LINF, "L∞", -6)):
        median = _or_nan(np.array([np.median(part) for part in np.split(values, bins[1:])]))
        axes.plot(at, median, color=colour, marker=".", markersize=3)
        known = np.flatnonzero(np.isfinite(median))
        if len(known):
            first = (at[known[0]], median[known[0]])
            _beside(axes, name, first, (-5, shift), ha="right", color=colour, fontsize=9)
    root = float(np.sqrt(series.sizes["dim"]))
    axes.set_yscale("log")
    axes.set_ylim(0.6, max(float(np.nanmax(largest)), root) * 20)
    plain_log_axis(axes.yaxis, *axes.get_ylim())
    for level, text in ((root, f"√dim = {root:.3g}"), (1.0, "1 ULP")):
        axes.axhline(level, color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)), zorder=0)
        _beside(axes, text, (1, level), (4, 0), xycoords=axes.get_yaxis_transform(), color=FAINT)
    step_axis(axes, steps)
    who = "tokens" if group == "all" else f"{group} tokens"
    per = interval_between(analysis.summary["stride"])
    axes.set_ylabel(f"displacement of {who} per {per} (ULP)")
    drawing.comparable.append(axes)
    drawing.alt = (
        f"Displacement of {who} per {per}, in units of the last place, against step. "
        + _mark_phases(drawing, axes, analysis.summary["phases"][group], int(steps[-1]))
    )
    return drawing


def _or_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero has no place on a logarithmic axis."""
    return np.where(values > 0, values, np.nan)


def _mark_phases(drawing: Drawing, axes: Axes, phases: dict[str, Any], last: int) -> str:
    """Draw the ends of the phases, and say where they are."""
    names = {"moving": "last motion", "hopping": "last L∞ above 1", "flowing": "last L2 above √dim"}
    # From the right: a line ends below the labels of those to the right of it, which reach over it.
    height = drawing.figure.get_figheight() * 72 * 0.78
    for level, (name, text) in enumerate(names.items()):
        step = phases[name]
        if step is None or step >= last:
            continue
        line = (8 + 11 * level) / height
        axes.axvline(step, ymax=1 - line + 5 / height, color=INK, linewidth=0.8)
        where = (step, 1 - line)
        _beside(
            axes, f"{text}: step {step:,}", where, (-4, 0), xycoords=axes.get_xaxis_transform(), ha="right"
        )
    if not phases["frozen"]:
        drawing.notes.append("They are still moving at the last recorded step.")
        return "They are still moving at the last step."
    moving = phases["moving"]
    axes.axvspan(moving, last * 1.02, color="#ECECEC", zorder=-1, linewidth=0)
    if last >= 1.6 * max(moving, 1):
        where = (float(np.sqrt(max(moving, 1) * last)), 0.5)
        _beside(axes, "at rest", where, (0, 0), xycoords=axes.get_xaxis_transform(), ha="center", rotation=90)
    said = ", ".join(
        f"{text} at step {phases[name]:,}" for name, text in names.items() if phases[name] is not None
    )
    return said[0].upper() + said[1:] + "."


def _beside(axes: Axes, text: str, where: Any, shift: tuple[float, float], **how: Any) -> None:
    how = {"va": "center", "fontsize": _LABEL, "color": INK, **how}
    axes.annotate(text, where, xytext=shift, textcoords="offset points", **how)
