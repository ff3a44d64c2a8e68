"""Labels of points that cover neither each other nor, if it can be helped, other points."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

# Where a label may go, seen from its point, best first.
_SIDES: Final = ((1, 0), (1, 1), (-1, 1), (-1, 0), (1, -1), (-1, -1), (0, 1), (0, -1))
_NEAR: Final = 4.0
_FAR: Final = (12.0, 24.0, 40.0)

Box = tuple[float, float, float, float]


def place_labels(
    axes: Axes,
    points: NDArray[np.float64],
    labelled: Sequence[tuple[int, str]],
    *,
    colours: Sequence[str],
    taken: Sequence[Box] = (),
    must: bool = False,
    size: float = 8,
) -> list[Box]:
    """Write labels beside points.

    Args:
        axes: with its final ranges, in a figure whose layout has been made.
        points: ``(point, 2)`` data coordinates of everything that is drawn.
        labelled: indices into ``points`` with their texts, the most important first.
        colours: of each point's label.
        taken: where there are labels already.
        must: where there is no room beside a point, write its label further away, with a line to it, or over
            the fewest points. Otherwise it is left out.
        size: of the type, in points.

    Returns:
        Where there are labels now, in points of 1/72 inch: ``taken`` and the new ones.
    """
    pixel = axes.figure.get_dpi() / 72
    at = axes.transData.transform(points) / pixel
    frame = axes.bbox.x0 / pixel, axes.bbox.y0 / pixel, axes.bbox.x1 / pixel, axes.bbox.y1 / pixel
    boxes = list(taken)
    for index, text in labelled:
        # The widest letters are that wide; what is known of the type is enough to keep labels apart.
        width, height = (0.62 * len(text) + 0.3) * size, 1.1 * size
        places = [
            (_box(at[index], side, distance, width, height), distance)
            for distance in (_NEAR, *(_FAR if must else ()))
            for side in _SIDES
        ]
        free = [
            (int(_contains(box, at).sum()), distance, box)
            for box, distance in places
            if _inside(box, frame) and not any(_meet(box, other) for other in boxes)
        ]
        if not free:
            continue
        covered, distance, box = min(free, key=lambda place: place[:2])
        if covered and not must:
            continue
        boxes.append(box)
        line = {"arrowstyle": "-", "color": colours[index], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            text,
            (float(points[index, 0]), float(points[index, 1])),
            xytext=((box[0] + box[2]) / 2 - at[index, 0], (box[1] + box[3]) / 2 - at[index, 1]),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=size,
            color=colours[index],
            parse_math=False,
            arrowprops=line if distance > _NEAR else None,
        )
    return boxes


def _box(
    point: NDArray[np.float64], side: tuple[int, int], distance: float, width: float, height: float
) -> Box:
    across, up = side
    reach = distance / np.hypot(across, up)
    x = point[0] + across * (reach + width / 2)
    y = point[1] + up * (reach + height / 2)
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _contains(box: Box, at: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points a box covers, with the reach of their markers."""
    reach = 1.5
    return (
        (at[:, 0] > box[0] - reach)
        & (at[:, 0] < box[2] + reach)
        & (at[:, 1] > box[1] - reach)
        & (at[:, 1] < box[3] + reach)
    )
