"""The groups of many tokens in a film: their density, put right into the picture of each frame."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from embevo.analysis.figures.density import counts_at, ink_of

# Of a token, in points of 1/72 inch, from its centre.
_RADIUS: Final = 1.0


class Crowd:
    """Groups of many tokens, and how dense a place must be to be drawn opaque, the same in every frame."""

    def __init__(self, groups: Sequence[tuple[NDArray[np.int64], str]]) -> None:
        """Take the groups: their tokens, and their colour."""
        self._groups = groups
        self._most = 0.0

    def draw(self, canvas: Any, axes: Axes, points: NDArray[np.float64], last: NDArray[np.float64]) -> None:
        """Put the groups into what a canvas of matplotlib's Agg holds already.

        Args:
            canvas: on which the axes are drawn, with their final ranges.
            axes: within which the groups are seen.
            points: ``(token, 2)`` data coordinates of all tokens.
            last: the same of the last frame, whose densest place is opaque.
        """
        if not self._groups:
            return
        if not self._most:
            self._most = float(np.sum(self._counts(axes, last), axis=0).max())
        ink = ink_of(self._counts(axes, points), [colour for _, colour in self._groups], self._most)
        buffer = np.asarray(canvas.buffer_rgba())
        left, bottom, width, height = _frame(axes)
        top = len(buffer) - bottom - height
        under = buffer[top : top + height, left : left + width, :3]
        opacity = ink[:, :, 3:]
        under[:] = np.rint(under * (1 - opacity) + 255 * ink[:, :, :3] * opacity)

    def _counts(self, axes: Axes, points: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        left, bottom, width, height = _frame(axes)
        at = axes.transData.transform(points) - (left, bottom)
        radius = _RADIUS * axes.figure.get_dpi() / 72
        return [counts_at(at[ids], (height, width), radius) for ids, _ in self._groups]


def _frame(axes: Axes) -> tuple[int, int, int, int]:
    """Whole pixels: left, bottom, width and height of the axes."""
    left, bottom = round(axes.bbox.x0), round(axes.bbox.y0)
    return left, bottom, round(axes.bbox.x1) - left, round(axes.bbox.y1) - bottom
