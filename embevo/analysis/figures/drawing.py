"""A figure with what belongs to it: its description in words, and the labels that are placed last."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from embevo.analysis import Analysis
from embevo.analysis.figures.style import FAINT, HEIGHT, WIDTH
from embevo.analysis.figures.token_names import short

# Inches above a figure for the line that says what is shown.
_TITLE: Final = 0.2
_LONGEST_RUN: Final = 40
_LONGEST_MATRIX: Final = 24


def title_of(analysis: Analysis) -> str:
    """Which run and which matrix a picture shows, in characters that every font has."""
    run = short(analysis.run_path.absolute().name, _LONGEST_RUN)
    return f"{run}: {short(str(analysis.summary['matrix']), _LONGEST_MATRIX)}"


@dataclass
class EndLabel:
    """A name beside the right end of a line, in its colour."""

    axes: Axes
    text: str
    y: float
    colour: str


@dataclass
class Drawing:
    """A figure that is being made.

    Attributes:
        figure: it; created empty, with the standard width.
        alt: what it shows, in words, with the main numbers.
        notes: what is missing from it, and why; one sentence each.
        comparable: axes whose y range is made the same in the figures of runs that are shown side by side.
        mapped: colour scales that are made the same likewise.
        labels: names at the ends of lines. They are placed at the end, when the ranges of the axes are final.
    """

    figure: Figure
    alt: str = ""
    notes: list[str] = field(default_factory=list)
    comparable: list[Axes] = field(default_factory=list)
    mapped: list[ScalarMappable] = field(default_factory=list)
    labels: list[EndLabel] = field(default_factory=list)

    @classmethod
    def of(cls, analysis: Analysis, *, height: float = HEIGHT, width: float = WIDTH) -> "Drawing":
        """An empty one, in inches, under a line that says which run and which matrix it shows."""
        drawing = cls(Figure(figsize=(width, height + _TITLE)))
        drawing.figure.suptitle(
            title_of(analysis), x=0.01, ha="left", fontsize=8, color=FAINT, parse_math=False
        )
        return drawing

    def label_end(self, axes: Axes, text: str, y: Any, colour: str) -> None:
        """Name a line whose values are ``y`` at its last finite value."""
        values = np.atleast_1d(np.asarray(y, np.float64))
        values = values[np.isfinite(values)]
        if len(values):
            self.labels.append(EndLabel(axes, text, float(values[-1]), colour))

    def finish(self) -> None:
        """Place the labels so that none covers another. Call once, before the figure is written."""
        labels, self.labels = self.labels, []
        if not labels:
            return
        self.figure.draw_without_rendering()
        height = 11.5 * self.figure.dpi / 72
        for axes in dict.fromkeys(label.axes for label in labels):
            mine = [label for label in labels if label.axes is axes]
            low, high = axes.bbox.y0 + height / 2, axes.bbox.y1 - height / 2
            places = [axes.transData.transform((axes.get_xlim()[1], label.y))[1] for label in mine]
            for label, place in zip(mine, apart(places, height, low, high), strict=True):
                axes.annotate(
                    label.text,
                    (1, (place - axes.bbox.y0) / axes.bbox.height),
                    xycoords="axes fraction",
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    color=label.colour,
                    annotation_clip=False,
                )


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places so that they lie in a range, in the same order and ``gap`` from each other, moved little.

    Where the range is too short for that, they reach beyond its upper end.
    """
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    moved = [0.0] * len(places)
    floor = low
    for index in order:
        moved[index] = max(floor, min(places[index], high))
        floor = moved[index] + gap
    ceiling = max(high, low + gap * (len(places) - 1))
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def share_scales(drawings: Sequence[Drawing]) -> None:
    """Give the figures of one kind, of several runs, the same ranges, so that they can be compared by eye."""
    for axes in zip(*(drawing.comparable for drawing in drawings), strict=False):
        limits = np.array([each.get_ylim() for each in axes])
        for each in axes:
            each.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    for mapped in zip(*(drawing.mapped for drawing in drawings), strict=False):
        limits = np.array([each.get_clim() for each in mapped], float)
        for each in mapped:
            each.set_clim(limits[:, 0].min(), limits[:, 1].max())
