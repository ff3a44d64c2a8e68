"""How many dimensions the cloud uses, and how far it has its final form, against step."""

import numpy as np

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, line_of, of_group, shown
from embevo.analysis.figures.style import quiet_grid, step_axis
from embevo.errors import NothingToDrawError


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError where it was not measured, or all tokens are at one point."""
    series = analysis.series
    if not {"rankme", "participation", "cka_last"} <= set(series):
        raise NothingToDrawError(
            "rankme, participation and cka were not measured: they are among --measures default"
        )
    steps = series["measured_step"].to_numpy()
    if len(steps) < 2:
        raise NothingToDrawError("the run has one step")
    drawing = Drawing.of(analysis, height=4.2)
    above, below = drawing.figure.subplots(2, 1, sharex=True)
    sentences, points = [], []
    for group in shown(analysis, drawing):
        rank, ratio = of_group(analysis, "rankme", group), of_group(analysis, "participation", group)
        alike = of_group(analysis, "cka_last", group)
        if not np.isfinite(ratio).any():
            points.append(group)
            continue
        line, colour = line_of(analysis, group), colour_of(analysis, group)
        above.plot(steps, rank, **line)
        above.plot(steps, ratio, **{**line, "linewidth": 0.6})
        drawing.label_end(above, group, rank, colour)
        drawing.label_end(above, f"{group}, PR", ratio, colour)
        below.plot(steps, alike, **line)
        drawing.label_end(below, group, alike, colour)
        known = np.flatnonzero(np.isfinite(ratio))
        sentences.append(
            f"{group} tokens: effective rank {rank[known[-1]]:.3g} and participation ratio "
            f"{ratio[known[-1]]:.3g} at step {steps[known[-1]]:,}."
        )
    if not sentences:
        raise NothingToDrawError("all tokens are at one point at every step")
    for group in points:
        drawing.notes.append(
            f"The {group} tokens are at one point at every measured step: they have no form."
        )
    above.set_ylim(0, analysis.summary["dim"] * 1.05)
    below.set_ylim(-0.03, 1.05)
    for axes in (above, below):
        quiet_grid(axes)
    step_axis(above, steps, label=False)
    step_axis(below, steps)
    above.set_ylabel("dimensions used")
    below.set_ylabel("CKA with the last row")
    drawing.alt = (
        "Effective rank, participation ratio (PR, thin), and linear CKA with the last row, against step. "
        + " ".join(sentences)
    )
    return drawing
