"""Mean squared displacement against lag, with the exponents that were fitted."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, line_of, of_group, shown
from embevo.analysis.figures.style import ALL, FAINT, INK, LENGTH, plain_log_axis, quiet_grid
from embevo.analysis.json_numbers import number_of
from embevo.errors import NothingToDrawError


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if nothing moves, or too few steps were recorded for a lag."""
    lags = analysis.series["lag"].to_numpy()
    drawing = Drawing.of(analysis, height=3.8)
    axes = drawing.figure.add_subplot()
    lines = [("tokens", group, group) for group in shown(analysis, drawing)]
    lines.append(("centroid", "all", "centroid"))
    fits: list[tuple[str, str]] = []
    lowest, highest = np.inf, 0.0
    for what, group, name in lines:
        squares = of_group(analysis, f"msd_{what}", group)
        positive = np.where(squares > 0, squares, np.nan)
        if len(lags) < 2 or not np.isfinite(positive).any():
            continue
        lowest, highest = min(lowest, np.nanmin(positive)), max(highest, np.nanmax(positive))
        line = line_of(analysis, group) if what == "tokens" else {"color": ALL, "linestyle": (0, (1, 1))}
        axes.plot(lags, positive, **line)
        fit = {key: number_of(value) for key, value in analysis.summary["exponents"][what][group].items()}
        text = _fitted(axes, fit)
        colour = colour_of(analysis, group) if what == "tokens" else ALL
        drawing.label_end(axes, name, positive, colour)
        fits.append((f"{name} {text or 'not fitted'}", colour))
    if not highest:
        raise NothingToDrawError("nothing moves, or too few steps were recorded")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(lags[0], lags[-1])
    axes.set_ylim(lowest / 2, highest * 2)
    plain_log_axis(axes.xaxis, *axes.get_xlim())
    plain_log_axis(axes.yaxis, *axes.get_ylim())
    _slopes(axes)
    _list(axes, [("slope (without a tenth of the run):", INK), *fits])
    axes.set_xlabel("lag (steps)")
    axes.set_ylabel(f"mean squared displacement ({LENGTH}²)")
    quiet_grid(axes)
    drawing.comparable.append(axes)
    drawing.alt = (
        "Mean squared displacement against lag, both logarithmic, with fitted slopes. "
        + "; ".join(text for text, _ in fits)
        + "."
    )
    return drawing


def _fitted(axes: Axes, fit: dict[str, float]) -> str:
    """Draw a fitted power law over its lags; the exponent in words, with its range without a tenth."""
    if not np.isfinite(fit["value"]):
        return ""
    lags = np.array([fit["first_lag"], fit["last_lag"]])
    axes.plot(lags, fit["prefactor"] * lags ** fit["value"], color=INK, linewidth=0.7, zorder=3)
    interval = f" ({fit['low']:.2f} to {fit['high']:.2f})" if np.isfinite(fit["low"]) else ""
    return f"{fit['value']:.2f}{interval}"


def _list(axes: Axes, lines: list[tuple[str, str]]) -> None:
    """Lines of text in the upper left corner, which a curve that rises leaves empty."""
    for number, (text, colour) in enumerate(lines):
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(6, -8 - 11.5 * number),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8,
        )


def _slopes(axes: Axes) -> None:
    """Short lines with slope 1 and 2 in the empty lower right corner, to compare with."""
    (left, right), (low, high) = np.log10(axes.get_xlim()), np.log10(axes.get_ylim())
    start = left + 0.62 * (right - left), low + 0.05 * (high - low)
    run = 0.16 * (right - left)
    # The names move away from each other, as in a flat figure the ends are near.
    for slope, text, shift in ((1, "1: Brownian", -3), (2, "2: ballistic", 4)):
        ends = start[0] + run, start[1] + slope * run
        axes.plot(
            *(10.0 ** np.array(pair) for pair in zip(start, ends, strict=True)), color=FAINT, linewidth=0.8
        )
        annotation: dict[str, Any] = {"xytext": (3, shift), "textcoords": "offset points", "va": "center"}
        axes.annotate(text, (10.0 ** ends[0], 10.0 ** ends[1]), color=FAINT, fontsize=8, **annotation)
