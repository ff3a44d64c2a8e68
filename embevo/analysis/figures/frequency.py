"""Norm of each token at the last step, and its distance from the centroid, against how often it occurs."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.density import are_many, draw_density
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import UNKNOWN, tokens_of
from embevo.analysis.figures.placement import place_labels
from embevo.analysis.figures.style import COLOURS, LENGTH, MARKERS, from_one_axis, point_marks, quiet_grid
from embevo.analysis.figures.token_names import name_of
from embevo.errors import NothingToDrawError

_NAMED = 40


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if the counts are not known."""
    series = analysis.series
    if "token_count" not in series:
        raise NothingToDrawError(UNKNOWN[0].lower() + UNKNOWN[1:-1])
    count = series["token_count"].to_numpy()
    norm, distance = (series[name].to_numpy() for name in ("token_norm_last", "radius_last"))
    live, dead = tokens_of(analysis, "live"), tokens_of(analysis, "dead")
    if not np.isfinite(norm[live]).any():
        raise NothingToDrawError("no live token has a finite norm at the last step")
    drawing = Drawing.of(analysis, height=4.3)
    above, below = drawing.figure.subplots(2, 1, sharex=True)
    above.set_ylabel(f"norm\n({LENGTH})")
    below.set_ylabel(f"distance from centroid\n({LENGTH})")
    below.set_xlabel("occurrences in the corpus (logarithmic from 1 on)")
    most = max(int(count.max()), 1)
    from_one_axis(above, most)
    above.set_xlim(-0.25, most * 1.4)
    panels = [(above, np.column_stack([count, norm]).astype(float))]
    panels += [(below, np.column_stack([count, distance]).astype(float))]
    for axes, points in panels:
        _mark(analysis, axes, points)
    drawing.figure.draw_without_rendering()
    for axes, points in panels:
        draw_density(axes, [(points[tokens_of(analysis, of)], COLOURS[of]) for of in _many(analysis)])
        _name(analysis, axes, points, dead)
    drawing.alt = "At the last step, against occurrences in the corpus: " + "; ".join(
        f"{what}: live tokens {_range(values[live])} {LENGTH}"
        + (f", dead ones {_range(values[dead])}" if len(dead) else "")
        for what, values in (("token norm", norm), ("distance from the centroid of all tokens", distance))
    )
    drawing.alt += "."
    return drawing


def _many(analysis: Analysis) -> list[str]:
    """Groups that are shown by their density."""
    return [group for group in ("dead", "live") if are_many(len(tokens_of(analysis, group)))]


def _mark(analysis: Analysis, axes: Axes, points: NDArray[np.float64]) -> None:
    """A mark for each token of groups that are not too many."""
    many = _many(analysis)
    for group in ("dead", "live"):
        ids = tokens_of(analysis, group)
        # Marks that the frame does not cut off count in the layout, those of no token at the corner.
        if group not in many and len(ids):
            marks = point_marks(len(ids) if many else len(points), 4)
            axes.plot(*points[ids].T, MARKERS[group], color=COLOURS[group], **marks, clip_on=False)
    axes.update_datalim(points[np.isfinite(points[:, 1])])
    axes.margins(y=0.08)
    quiet_grid(axes)
    axes.autoscale_view(scalex=False)


def _name(analysis: Analysis, axes: Axes, points: NDArray[np.float64], dead: NDArray[np.int64]) -> None:
    """Names of the most frequent tokens, and how many are dead."""
    count, values = points.T
    order = [
        token
        for token in np.argsort(-count, kind="stable").tolist()
        if count[token] > 0 and np.isfinite(values[token])
    ]
    labelled = [(token, name_of(analysis.labels[token])) for token in order[:_NAMED]]
    if np.isfinite(values[dead]).any():
        axes.annotate(
            f"{len(dead):,} dead",
            (0, np.nanmax(values[dead])),
            xytext=(0, 6),
            textcoords="offset points",
            ha="left",
            color=COLOURS["dead"],
        )
    place_labels(axes, points, labelled, colours=[COLOURS["live"]] * len(points))


def _range(norms: NDArray[np.float64]) -> str:
    """Least and largest in words; of norms that are not finite, that they are not."""
    known = norms[np.isfinite(norms)]
    return f"{known.min():.3g} to {known.max():.3g}" if len(known) else "infinity or NaN"
