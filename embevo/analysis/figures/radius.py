"""RMS and maximal distance of live and dead tokens from their centroid, against step."""

import numpy as np

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, line_of, of_group, shown
from embevo.analysis.figures.style import LENGTH, plain_log_axis, quiet_grid, step_axis
from embevo.errors import NothingToDrawError


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if every group is a single point at every step."""
    steps = analysis.series["step"].to_numpy()
    drawing = Drawing.of(analysis)
    axes = drawing.figure.add_subplot()
    sentences, points, lowest, highest = [], [], np.inf, 0.0
    for group in shown(analysis, drawing):
        rms, most = of_group(analysis, "radius_rms", group), of_group(analysis, "radius_max", group)
        positive = rms[rms > 0]
        if not len(positive):
            points.append(group)
            sentences.append(f"{group} tokens have radius 0 at every step.")
            continue
        line = line_of(analysis, group)
        axes.plot(steps, np.where(rms > 0, rms, np.nan), **line)
        axes.plot(steps, np.where(most > 0, most, np.nan), **{**line, "linewidth": 0.6})
        drawing.label_end(axes, group, rms[-1] if rms[-1] > 0 else positive[-1], colour_of(analysis, group))
        drawing.label_end(axes, f"{group}, max", most[most > 0][-1], colour_of(analysis, group))
        lowest, highest = min(lowest, positive.min()), max(highest, float(np.nanmax(most)))
        sentences.append(
            f"{group} tokens from {rms[0]:.3g} at step {steps[0]:,} to {rms[-1]:.3g} at step {steps[-1]:,}."
        )
        if rms[0] == 0:
            last = steps[np.flatnonzero(rms > 0)[0] - 1]
            until = "At" if last == steps[0] else "Up to"
            drawing.notes.append(
                f"{until} step {last:,} the radius of the {group} tokens is 0, off this scale."
            )
    if not highest:
        raise NothingToDrawError("all tokens are at one point at every step")
    for group in points:
        axes.annotate(
            f"{group}: radius 0 at every step, all at one point",
            (0.02, 0),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            color=colour_of(analysis, group),
        )
    axes.set_yscale("log")
    axes.set_ylim(lowest / (3 if points else 1.3), highest * 1.3)
    plain_log_axis(axes.yaxis, *axes.get_ylim())
    step_axis(axes, steps)
    axes.set_ylabel(f"distance from centroid ({LENGTH})")
    quiet_grid(axes)
    drawing.comparable.append(axes)
    drawing.alt = "RMS distance from the group's centroid against step, both logarithmic: " + " ".join(
        sentences
    )
    return drawing
