"""How many tokens flow, hop, step and rest on the lattice of representable numbers, against step."""

from typing import Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.style import FAINT, INK, quiet_grid, step_axis
from embevo.errors import NothingToDrawError

# From what moves most to what rests, each darker or lighter than its neighbours.
_STATES: Final = (
    ("flowing", "#D55E00"),
    ("hopping", "#E69F00"),
    ("stepping", "#56B4E9"),
    ("at rest", "#DADADA"),
)


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError where it was not measured, or nothing moves."""
    series = analysis.series
    if "population" not in series:
        raise NothingToDrawError("the life of tokens was not measured: it is among --measures default")
    steps = series["step"].to_numpy()[1:]
    counts = series["population"].sel(group="all").to_numpy()[1:]
    states = series["state"].to_numpy().tolist()
    stacked = np.array([counts[:, states.index(state)] for state, _ in _STATES])
    if not len(steps) or not stacked[:-1].any():
        raise NothingToDrawError("no token moves, or it is not known whether it does")
    drawing = Drawing.of(analysis)
    axes = drawing.figure.add_subplot()
    axes.stackplot(
        steps, stacked, colors=[colour for _, colour in _STATES], step="post", linewidth=0, rasterized=True
    )
    below = 0.0
    for (state, colour), count in zip(_STATES, stacked[:, -1], strict=True):
        if count:
            light = state == "at rest"
            drawing.label_end(axes, f"{state}: {count:,}", below + count / 2, FAINT if light else colour)
        below += float(count)
    axes.set_ylim(0, series.sizes["token"])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("tokens", color=INK)
    step_axis(axes, steps)
    quiet_grid(axes)
    last = ", ".join(f"{count:,} {state}" for (state, _), count in zip(_STATES, stacked[:, -1], strict=True))
    drawing.alt = (
        f"Tokens in each state on the lattice of numbers against step; at step {steps[-1]:,}: {last}."
    )
    unknown = series.sizes["token"] - int(stacked[:, -1].sum())
    if unknown:
        drawing.notes.append(f"Of {unknown:,} tokens it is not known at the last step what they do.")
    return drawing
