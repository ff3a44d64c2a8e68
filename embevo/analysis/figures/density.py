"""Many points as ink that follows their number: where markers above each other would be one flat colour.

A pixel is the darker the more points reach it, on a logarithmic scale, so that a single point is seen and a
dense core still has a shape. Where groups lie together, its colour is theirs, mixed by how many points each
has there.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

# Up to so many points of a group are marks of their own.
MOST_MARKS: Final = 2000
# Opacity of a single point; that of the densest place is 1.
_LEAST: Final = 0.35
# Pixels an inch in figures, which is what their files have.
_DPI: Final = 200
# Of a point, in points of 1/72 inch, from its centre.
_RADIUS: Final = 0.9


def counts_at(at: NDArray[np.float64], shape: tuple[int, int], radius: float) -> NDArray[np.float64]:
    """How many points reach each pixel.

    Args:
        at: ``(point, 2)`` pixels to the right and upwards from the lower left corner; those that are not
            finite, or outside, are left out.
        shape: height and width of the picture.
        radius: of a point, in pixels.

    Returns:
        ``(height, width)`` from the top downwards.
    """
    height, width = shape
    reach = int(np.ceil(radius))
    # With a margin, into which points near the edge reach.
    tall, wide = height + 2 * reach, width + 2 * reach
    known = at[np.isfinite(at).all(axis=1)]
    column, row = np.floor(known[:, 0]) + reach, height - 1 - np.floor(known[:, 1]) + reach
    inside = (column >= 0) & (column < wide) & (row >= 0) & (row < tall)
    place = row[inside].astype(np.int64) * wide + column[inside].astype(np.int64)
    centres = np.bincount(place, minlength=tall * wide).reshape(tall, wide)
    found = np.zeros(shape)
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            if down * down + across * across <= radius * radius:
                top, left = reach + down, reach + across
                found += centres[top : top + height, left : left + width]
    return found


def ink_of(counts: Sequence[NDArray[np.float64]], colours: Sequence[str], most: float) -> NDArray[np.float64]:
    """The picture of groups of points.

    Args:
        counts: of each group ``(height, width)``, as :func:`counts_at` gives them.
        colours: of the groups.
        most: points that make a pixel opaque.

    Returns:
        ``(height, width, 4)`` red, green, blue and opacity, from 0 to 1; transparent where there is no point.
    """
    total = np.sum(counts, axis=0)
    picture = np.zeros((*total.shape, 4))
    some = total > 0
    number = total[some]
    mixed = sum(np.outer(count[some], to_rgb(colour)) for count, colour in zip(counts, colours, strict=True))
    picture[some, :3] = mixed / number[:, None]
    scale = np.log(number) / np.log(max(most, 2.0))
    picture[some, 3] = np.minimum(_LEAST + (1 - _LEAST) * scale, 1.0)
    return picture


def draw_density(axes: Axes, groups: Sequence[tuple[NDArray[np.float64], str]]) -> None:
    """Draw groups of many points behind everything else.

    Args:
        axes: with its final ranges, in a figure whose layout has been made.
        groups: ``(point, 2)`` data coordinates, and the colour.
    """
    if not groups:
        return
    scale = _DPI / axes.figure.get_dpi()
    shape = max(1, round(axes.bbox.height * scale)), max(1, round(axes.bbox.width * scale))
    corner = np.array([axes.bbox.x0, axes.bbox.y0])
    counts = [
        counts_at((axes.transData.transform(points) - corner) * scale, shape, _RADIUS * _DPI / 72)
        for points, _ in groups
    ]
    picture = ink_of(counts, [colour for _, colour in groups], float(np.sum(counts, axis=0).max()))
    limits = axes.get_xlim(), axes.get_ylim()
    # A picture of linear axes stays where it belongs if their ranges should still change.
    linear = axes.get_xscale() == axes.get_yscale() == "linear"
    axes.set_autoscale_on(False)
    axes.imshow(
        picture,
        extent=(*limits[0], *limits[1]) if linear else (0, 1, 0, 1),
        transform=axes.transData if linear else axes.transAxes,
        aspect=axes.get_aspect(),
        interpolation="nearest",
        zorder=1,
    )


def are_many(count: int) -> bool:
    """Whether a group of so many points is drawn as density, and not as marks."""
    return count > MOST_MARKS
