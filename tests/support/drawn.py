"""Small runs to draw, and a look at what was drawn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from support import trajectories

DEAD = [0, 1, 2, 3, 64, 94]


def singular(rows: int = 150, tokens: int = 110) -> NDArray[np.float32]:
    """All tokens at one point, then the live on their ways; the dead move as one and rest from row 50 on."""
    values = trajectories.brownian(rows, tokens, 5, scale=0.02)
    values[:, DEAD] = values[:, DEAD[:1]]
    values[50:, DEAD] = values[50, DEAD[0]]
    return (values - values[0] + 1).astype(np.float32)


def record_singular(path: Path, **config: Any) -> Path:
    """A run of them, with counts."""
    return trajectories.record(
        path, singular(), dead=DEAD, config=trajectories.experiment(**{"init": "qwen", **config})
    )


def record_normal(path: Path, **config: Any) -> Path:
    """Tokens apart from the beginning."""
    values = trajectories.brownian(150, 110, 5, seed=1, scale=0.02)
    values += np.random.default_rng(2).normal(size=(1, 110, 5))
    return trajectories.record(
        path,
        values.astype(np.float32),
        dead=DEAD,
        config=trajectories.experiment(**{"init": "normal", **config}),
    )


def written_text(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """All text that a figure shows, and where, in pixels."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        shown: list[Text] = [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis, place, limits in ((axes.xaxis, 0, axes.get_xlim()), (axes.yaxis, 1, axes.get_ylim())):
            low, high = sorted(limits)
            ticks = axis.get_ticklabels(which="both")
            shown += [label for label in ticks if low <= label.get_position()[place] <= high]
        for text in shown:
            if text.get_text() and text.get_visible():
                yield text.get_text(), Text.get_window_extent(text)
