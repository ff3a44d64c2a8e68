"""Norm of each token at the last step against how often it occurs in the corpus."""

import numpy as np
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
    norm = series["token_norm_last"].to_numpy()
    live, dead = tokens_of(analysis, "live"), tokens_of(analysis, "dead")
    if not np.isfinite(norm[live]).any():
        raise NothingToDrawError("no live token has a finite norm at the last step")
    drawing = Drawing.of(analysis, height=3.6)
    axes = drawing.figure.add_subplot()
    points = np.column_stack([count, norm]).astype(float)
    many = [group for group in ("dead", "live") if are_many(len(tokens_of(analysis, group)))]
    for group in ("dead", "live"):
        ids = tokens_of(analysis, group)
        if group not in many:
            marks = point_marks(len(ids) if many else len(count), 4)
            axes.plot(*points[ids].T, MARKERS[group], color=COLOURS[group], **marks, clip_on=False)
    axes.update_datalim(points[np.isfinite(norm)])
    most = max(int(count.max()), 1)
    from_one_axis(axes, most)
    axes.set_xlim(-0.25, most * 1.4)
    axes.set_xlabel("occurrences in the corpus (logarithmic from 1 on)")
    axes.set_ylabel(f"norm at the last step ({LENGTH})")
    axes.margins(y=0.08)
    quiet_grid(axes)
    axes.autoscale_view(scalex=False)
    drawing.figure.draw_without_rendering()
    draw_density(axes, [(points[tokens_of(analysis, group)], COLOURS[group]) for group in many])
    order = [
        token
        for token in np.argsort(-count, kind="stable").tolist()
        if count[token] > 0 and np.isfinite(norm[token])
    ]
    labelled = [(token, name_of(analysis.labels[token])) for token in order[:_NAMED]]
    if np.isfinite(norm[dead]).any():
        axes.annotate(
            f"{len(dead):,} dead",
            (0, np.nanmax(norm[dead])),
            xytext=(0, 6),
            textcoords="offset points",
            ha="left",
            color=COLOURS["dead"],
        )
    place_labels(axes, points, labelled, colours=[COLOURS["live"]] * len(points))
    drawing.alt = (
        f"Token norm at the last step against occurrences in the corpus: live tokens "
        f"{_range(norm[live])} {LENGTH}" + (f", dead ones {_range(norm[dead])}." if len(dead) else ".")
    )
    return drawing


def _range(norms: NDArray[np.float64]) -> str:
    """Least and largest in words; of norms that are not finite, that they are not."""
    known = norms[np.isfinite(norms)]
    return f"{known.min():.3g} to {known.max():.3g}" if len(known) else "infinity or NaN"
