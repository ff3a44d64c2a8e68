"""Which groups of tokens a figure can show, and how a line of a group is drawn."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.style import (
    COLOURS,
    DASHES,
    MARKERS,
    OWN_COLOURS,
    OWN_DASHES,
    OWN_MARKERS,
    SIGNS,
)
from embevo.analysis.measures.groups import GROUPS

UNKNOWN: Final = (
    "How often each token occurs in the corpus is not known for this run, so live and dead tokens are not "
    "told apart."
)


def shown(analysis: Analysis, drawing: Drawing, *, also_all: bool = False) -> list[str]:
    """Live and dead where they are known and not empty, else all; then the groups of the user's own.

    What is missing becomes a note.

    Args:
        analysis: of the run.
        drawing: takes the note.
        also_all: show all tokens beside live and dead.
    """
    live, dead = analysis.summary["live"], analysis.summary["dead"]
    if live is None:
        drawing.notes.append(UNKNOWN)
        return ["all", *own_groups(analysis)]
    if not live or not dead:
        drawing.notes.append(f"This run has no {'live' if dead else 'dead'} tokens.")
    groups = [name for name, size in (("live", live), ("dead", dead)) if size]
    return [*(["all"] if also_all and len(groups) == 2 else []), *groups, *own_groups(analysis)]


def own_groups(analysis: Analysis) -> list[str]:
    """The groups of the user's own, in their order."""
    return [str(name) for name in analysis.series["group"].to_numpy()[len(GROUPS) :]]


def of_group(analysis: Analysis, variable: str, group: str) -> NDArray[np.float64]:
    """A variable of a group, along what other dimension it has."""
    return np.asarray(analysis.series[variable].sel(group=group).to_numpy(), np.float64)


def tokens_of(analysis: Analysis, group: str) -> NDArray[np.int64]:
    """``(token,)`` places of a group among the recorded tokens, ascending."""
    return np.flatnonzero(analysis.series["member"].sel(group=group).to_numpy())


def colour_of(analysis: Analysis, group: str) -> str:
    """The colour of a group."""
    return COLOURS[group] if group in COLOURS else OWN_COLOURS[_turn(analysis, group) % len(OWN_COLOURS)]


def marker_of(analysis: Analysis, group: str) -> str:
    """The mark of a token of a group."""
    return MARKERS[group] if group in MARKERS else OWN_MARKERS[_turn(analysis, group) % len(OWN_MARKERS)]


def line_of(analysis: Analysis, group: str) -> dict[str, Any]:
    """Colour and dash of a group's line."""
    dash = DASHES[group] if group in DASHES else OWN_DASHES[_turn(analysis, group) % len(OWN_DASHES)]
    return {"color": colour_of(analysis, group), "linestyle": dash}


def key_of(analysis: Analysis, group: str) -> str:
    """What a key says of a group: its mark, its name and its size."""
    name = "tokens" if group == "all" else group
    return f"{SIGNS[marker_of(analysis, group)]} {name} ({len(tokens_of(analysis, group)):,})"


def _turn(analysis: Analysis, group: str) -> int:
    return own_groups(analysis).index(group)
