"""The share of elements that no update can move, at the learning rate of each step, against step."""

import numpy as np

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, line_of, of_group, shown
from embevo.analysis.figures.style import quiet_grid, step_axis
from embevo.errors import NothingToDrawError


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if no learning rate was recorded."""
    steps = analysis.series["step"].to_numpy()
    known = np.isfinite(of_group(analysis, "pinned", "all"))
    if not known.any():
        raise NothingToDrawError("the run recorded no learning rate, or has one row")
    drawing = Drawing.of(analysis)
    axes = drawing.figure.add_subplot()
    sentences = []
    for group in shown(analysis, drawing):
        share = of_group(analysis, "pinned", group)
        axes.plot(steps, share, **line_of(analysis, group))
        drawing.label_end(axes, group, share, colour_of(analysis, group))
        first, last = share[known][0], share[known][-1]
        sentences.append(
            f"{group}: {100 * first:.3g} % at step {steps[known][0]:,}, {100 * last:.3g} % at the end"
        )
    moved = float(np.nansum(analysis.series["pinned_moved"].to_numpy()))
    drawing.notes.append(
        f"Pinned elements that moved all the same, by an update larger than the learning rate: {moved:,.0f}, "
        "counted over all steps."
    )
    axes.set_ylim(-0.03, 1.03)
    step_axis(axes, steps)
    axes.set_ylabel("share of elements that are pinned")
    quiet_grid(axes)
    drawing.alt = (
        f"Share of elements that no update can move in {analysis.summary['dtype']} at the learning rate of "
        f"the step, against step. {'; '.join(sentences)}."
    )
    return drawing
