"""Mean squared displacement against lag, and below it its slope: where that is flat, it is a power law."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, line_of, of_group, shown
from embevo.analysis.figures.style import ALL, FAINT, INK, LENGTH, plain_log_axis, quiet_grid
from embevo.analysis.json_numbers import number_of
from embevo.errors import NothingToDrawError

# A slope is that over lags up to this many times the shortest of them, and of so many lags at least.
_WINDOW: Final = 10**0.5
_FEWEST: Final = 3


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if nothing moves, or too few steps were recorded for a lag."""
    lags = analysis.series["lag"].to_numpy()
    drawing = Drawing.of(analysis, height=4.4)
    axes, below = drawing.figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
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
        at, slopes = local_slopes(lags, positive)
        below.plot(at, slopes, **line)
        colour = colour_of(analysis, group) if what == "tokens" else ALL
        drawing.label_end(axes, name, positive, colour)
        drawing.label_end(below, name, slopes, colour)
        fits.append((f"{name} {_fitted(analysis.summary['exponents'][what][group])}", colour))
    if not highest:
        raise NothingToDrawError("nothing moves, or too few steps were recorded")
    for each in (axes, below):
        each.set_xscale("log")
        each.set_xlim(lags[0], lags[-1])
        quiet_grid(each)
    axes.set_yscale("log")
    axes.set_ylim(lowest / 2, highest * 2)
    plain_log_axis(axes.xaxis, *axes.get_xlim())
    plain_log_axis(axes.yaxis, *axes.get_ylim())
    _list(axes, [("slope of the shorter lags; of the longer:", INK), *fits])
    axes.set_ylabel(f"mean squared displacement\n({LENGTH}²)")
    below.set_ylabel("slope")
    below.set_xlabel("lag (steps)")
    low, high = below.get_ylim()
    below.set_ylim(min(low, -0.1), max(high, 2.1))
    for level, text in ((1, "random walk"), (2, "straight")):
        below.axhline(level, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        below.annotate(
            text,
            (0, level),
            xycoords=below.get_yaxis_transform(),
            xytext=(3, 2),
            textcoords="offset points",
            color=FAINT,
            fontsize=8,
        )
    drawing.comparable.append(axes)
    drawing.alt = (
        "Mean squared displacement against lag, both logarithmic, and its slope within half a decade. "
        "Slopes of the shorter and of the longer lags: " + "; ".join(text for text, _ in fits) + "."
    )
    return drawing


def local_slopes(
    lags: NDArray[np.int64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope of log MSD against log lag, by least squares, within half a decade of lags from each lag on.

    Args:
        lags: ``(lag,)`` steps.
        squares: ``(lag,)`` mean squared displacement; NaN where there is none.

    Returns:
        The geometric means of the lags of each window of three lags or more, and the slopes; NaN where a
        window lacks a value. Windows that reach beyond the longest lag are left out.
    """
    at, slopes = [], []
    for start, lag in enumerate(lags):
        stop = int(np.searchsorted(lags, lag * _WINDOW, side="right"))
        if lag * _WINDOW > lags[-1] or stop - start < _FEWEST:
            continue
        logs = np.log(lags[start:stop].astype(np.float64))
        means = np.log(squares[start:stop])
        apart = logs - logs.mean()
        at.append(np.exp(logs.mean()))
        slopes.append((apart * means).sum() / (apart**2).sum())
    return np.array(at), np.array(slopes)


def _fitted(fit: dict[str, Any]) -> str:
    """The slopes of both halves of the fitted lags in words."""
    short, long = number_of(fit["short"]), number_of(fit["long"])
    return f"{short:.2f}; {long:.2f}" if np.isfinite(short) and np.isfinite(long) else "not fitted"


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
