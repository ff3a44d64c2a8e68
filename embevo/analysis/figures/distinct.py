"""How many rows differ, and how many tokens are in black holes, against step."""

import numpy as np

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, line_of, of_group, shown
from embevo.analysis.figures.style import quiet_grid, step_axis


def draw(analysis: Analysis) -> Drawing:
    """Draw it."""
    steps = analysis.series["step"].to_numpy()
    drawing = Drawing.of(analysis, height=4.2)
    above, below = drawing.figure.subplots(2, 1, sharex=True)
    sentences = []
    for group in shown(analysis, drawing, also_all=True):
        distinct = of_group(analysis, "distinct_rows", group)
        inside = of_group(analysis, "black_hole_population", group)
        for axes, values in ((above, distinct), (below, inside)):
            axes.plot(steps, values, drawstyle="steps-post", **line_of(analysis, group))
            drawing.label_end(axes, f"{group}: {values[-1]:,.0f}", values, colour_of(analysis, group))
        sentences.append(
            f"{group}: {distinct[0]:,.0f} distinct rows at step {steps[0]:,} and {distinct[-1]:,.0f} at step "
            f"{steps[-1]:,}, with {inside[-1]:,.0f} tokens in black holes."
        )
    most = analysis.series.sizes["token"]
    for axes in (above, below):
        axes.set_ylim(-0.03 * most, 1.04 * most)
        axes.yaxis.get_major_locator().set_params(integer=True)
        quiet_grid(axes)
    step_axis(above, steps, label=False)
    step_axis(below, steps)
    above.set_ylabel("distinct rows")
    below.set_ylabel("tokens in black holes")
    drawing.alt = "Distinct rows, and tokens that share their row with another, against step. " + " ".join(
        sentences
    )
    if not np.any(of_group(analysis, "black_hole_population", "all")):
        drawing.notes.append("No two tokens are ever the same in every bit: this run has no black hole.")
    return drawing
