"""Which groups of tokens a figure can show, and how a line of a group is drawn."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.style import COLOURS, DASHES

UNKNOWN: Final = (
    "How often each token occurs in the corpus is not known for this run, so live and dead tokens are not "
    "told apart."
)


def shown(analysis: Analysis, drawing: Drawing, *, also_all: bool = False) -> list[str]:
    """Live and dead where they are known and not empty, else all; what is missing becomes a note.

    Args:
        analysis: of the run.
        drawing: takes the note.
        also_all: show all tokens beside live and dead.
    """
    live, dead = analysis.summary["live"], analysis.summary["dead"]
    if live is None:
        drawing.notes.append(UNKNOWN)
        return ["all"]
    if not live or not dead:
        drawing.notes.append(f"This run has no {'live' if dead else 'dead'} tokens.")
    groups = [name for name, size in (("live", live), ("dead", dead)) if size]
    return ["all", *groups] if also_all and len(groups) == 2 else groups


def of_group(analysis: Analysis, variable: str, group: str) -> NDArray[np.float64]:
    """A variable of a group, along what other dimension it has."""
    return np.asarray(analysis.series[variable].sel(group=group).to_numpy(), np.float64)


def tokens_of(analysis: Analysis, group: str) -> NDArray[np.int64]:
    """``(token,)`` ids of a group, ascending."""
    count = analysis.series.sizes["token"]
    if group == "all" or "token_count" not in analysis.series:
        return np.arange(count if group == "all" else 0)
    counts = analysis.series["token_count"].to_numpy()
    return np.flatnonzero(counts > 0 if group == "live" else counts == 0)


def line_of(group: str) -> dict[str, Any]:
    """Colour and dash of a group's line."""
    return {"color": COLOURS[group], "linestyle": DASHES[group]}
