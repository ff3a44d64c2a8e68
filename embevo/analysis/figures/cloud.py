"""Where the tokens are at the last step, in the plane of the two widest components."""

import numpy as np
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.density import are_many, draw_density
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, key_of, marker_of, shown, tokens_of
from embevo.analysis.figures.holes import largest_holes, put_ring, ring
from embevo.analysis.figures.placement import place_labels
from embevo.analysis.figures.style import ALL, INK, LENGTH, point_marks
from embevo.analysis.figures.token_names import name_of
from embevo.analysis.projection import project
from embevo.errors import NothingToDrawError

_NAMED = 40
# Of a character of the key, and of a line of it, in points.
_KEY_WIDTH = 6.0
_KEY_LINE = 270.0


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if there is no plane, or all tokens are one point."""
    series = analysis.series
    if series.sizes["component"] < 2:
        raise NothingToDrawError("the embedding has one dimension, or there is one token: that is no plane")
    last = int(series["step"][-1])
    points = project(analysis.run_path, [last], series, components=2)[0]
    if not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
        raise NothingToDrawError("all tokens are at one point at the last step, or not finite")
    drawing = Drawing.of(analysis, height=4.3)
    axes = drawing.figure.add_subplot()
    groups = shown(analysis, drawing)
    members = {group: tokens_of(analysis, group) for group in groups}
    few = [group for group, ids in members.items() if not are_many(len(ids))]
    marks = point_marks(sum(len(members[group]) for group in few), 4)
    colours = [ALL] * len(points)
    for group, ids in members.items():
        for token in ids.tolist():
            colours[token] = colour_of(analysis, group)
        if group in few:
            axes.plot(*points[ids].T, marker_of(analysis, group), color=colour_of(analysis, group), **marks)
    axes.update_datalim(points)
    holes = largest_holes(series["black_hole"].to_numpy(), tokens_of(analysis, "dead"))
    for token, count, _ in holes:
        put_ring(ring(axes), points[token], count)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.1)
    variance = series["pca_variance"].to_numpy()
    share = variance[:2] / variance.sum()
    axes.set_xlabel(f"component 1, {share[0]:.0%} of the variance ({LENGTH})")
    axes.set_ylabel(f"component 2, {share[1]:.0%} ({LENGTH})")
    drawing.figure.draw_without_rendering()
    draw_density(
        axes,
        [(points[ids], colour_of(analysis, group)) for group, ids in members.items() if group not in few],
    )
    named = [(token, text) for token, _, text in holes]
    taken = place_labels(axes, points, named, colours=[INK] * len(points), must=True)
    place_labels(axes, points, _notable(analysis, points), colours=colours, taken=taken)
    _key(drawing, groups, analysis)
    drawing.alt = (
        f"The {len(points):,} tokens at step {last:,} in the plane of the two widest components, which hold "
        f"{share.sum():.0%} of the variance."
    )
    return drawing


def _notable(analysis: Analysis, points: NDArray[np.float64]) -> list[tuple[int, str]]:
    """The most frequent tokens, and between them those furthest out; members of black holes are not named."""
    hole = analysis.series["black_hole"].to_numpy()
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    outermost = np.argsort(-distance, kind="stable")[: _NAMED // 2].tolist()
    order = outermost
    if "token_count" in analysis.series:
        count = analysis.series["token_count"].to_numpy()
        frequent = np.argsort(-count, kind="stable")[:_NAMED].tolist()
        pairs = zip(frequent, outermost + [None] * (len(frequent) - len(outermost)), strict=False)
        order = [token for pair in pairs for token in pair if token is not None]
    return [(token, name_of(analysis.labels[token])) for token in dict.fromkeys(order) if hole[token] < 0]


def _key(drawing: Drawing, groups: list[str], analysis: Analysis) -> None:
    """Name the colours, in the colours, in lines above the axes; live and dead in the lowest."""
    axes = drawing.figure.axes[0]
    across, line = 0.0, 0
    for group in groups:
        text = key_of(analysis, group)
        width = max(80.0, _KEY_WIDTH * len(text))
        if across + width > _KEY_LINE:
            across, line = 0.0, line + 1
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(2 + across, 5 + 12 * line),
            textcoords="offset points",
            color=colour_of(analysis, group),
        )
        across += width
