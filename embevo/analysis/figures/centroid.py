"""The path of the centroid in the plane of the two widest components, coloured by step."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import SymLogNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from embevo.analysis import Analysis
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.placement import place_labels
from embevo.analysis.figures.style import INK, LENGTH
from embevo.errors import NothingToDrawError


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if there is no plane, or no motion."""
    series = analysis.series
    steps = series["step"].to_numpy()
    if series.sizes["component"] < 2:
        raise NothingToDrawError("the embedding has one dimension, which is no plane")
    path = series["centroid_projected"].sel(group="all").to_numpy()
    if len(steps) < 2 or not np.isfinite(path).all() or not np.ptp(path[:, :2], axis=0).any():
        raise NothingToDrawError("the centroid does not move, or is not finite at every step")
    drawing = Drawing.of(analysis, height=3.4)
    axes = drawing.figure.add_subplot()
    plane = path[:, :2]
    pieces = np.stack([plane[:-1], plane[1:]], axis=1)
    norm = SymLogNorm(linthresh=1, linscale=0.4, vmin=int(steps[0]), vmax=int(steps[-1]))
    lines = LineCollection(
        list(pieces), cmap="viridis", norm=norm, linewidths=1.6, rasterized=True, capstyle="round"
    )
    lines.set_array(steps[1:].astype(float))
    axes.add_collection(lines)
    for row, marker in ((0, "o"), (-1, "s")):
        axes.plot(*plane[row], marker, color="white", markeredgecolor=INK, markersize=6)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.15)
    axes.locator_params(nbins=6)
    axes.set_xlabel(f"component 1 ({LENGTH})")
    axes.set_ylabel(f"component 2 ({LENGTH})")
    bar = drawing.figure.colorbar(lines, ax=axes, pad=0.02, aspect=30)
    decades = [10**k for k in range(len(str(steps[-1]))) if 10**k >= steps[0]]
    bar.ax.yaxis.set_major_locator(FixedLocator([0, *decades] if steps[0] == 0 else decades))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    bar.set_label("training step")
    bar.outline.set_visible(False)
    drawing.figure.draw_without_rendering()
    # Enough of the path for the labels to keep off it.
    at = np.linspace(0, len(plane) - 1, 400)
    along = np.column_stack([np.interp(at, np.arange(len(plane)), places) for places in plane.T])
    ends = [(0, f"step {steps[0]:,}"), (len(at) - 1, f"step {steps[-1]:,}")]
    place_labels(axes, along, ends, colours=[INK] * len(at), must=True, size=9)
    moved = series["centroid"].sel(group="all").to_numpy()
    whole = ((moved[-1] - moved[0]) ** 2).sum()
    share = ((plane[-1] - plane[0]) ** 2).sum() / whole if whole > 0 else np.nan
    distance = float(np.sqrt(whole))
    if np.isfinite(share):
        drawing.notes.append(
            f"Of the squared distance between first and last place ({distance:.3g} {LENGTH} "
            f"in all dimensions), {share:.0%} lies in this plane."
        )
    drawing.alt = (
        f"Path of the centroid of all tokens in the plane of the two widest components, from step "
        f"{steps[0]:,} to step {steps[-1]:,}; the ends are {distance:.3g} {LENGTH} apart in all dimensions."
    )
    return drawing
