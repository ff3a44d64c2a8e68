"""How far every token moves at every step, as a map: tokens downwards, steps to the right.

Of more tokens than rows no row is put together of several, as one that moves would colour those that rest.
Each column shows quantiles instead: its tokens sorted, the fastest at the top, those at rest white below.
"""

import numpy as np
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.binning import log_bins, rms_in
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.groups import colour_of, shown, tokens_of
from embevo.analysis.figures.style import LENGTH, interval_between, step_axis
from embevo.errors import NothingToDrawError

_PER_DECADE = 60
_MOST_ROWS = 300
# Tokens whose squared displacements are in memory at once.
_AT_ONCE = 4096
# Grey would be one of the colours.
_REST = "white"


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if nothing ever moves."""
    series = analysis.series
    steps = series["step"].to_numpy()
    moved = series["displacement"].to_numpy()
    finite = np.isfinite(moved) & (moved > 0)
    if not finite.any():
        raise NothingToDrawError("no token moves between the recorded steps")
    drawing = Drawing.of(analysis, height=4.4)
    groups = shown(analysis, drawing)
    members = [_ordered(analysis, group) for group in groups]
    # A group of two tokens among thousands is still to be seen.
    least = 0.12 * sum(map(len, members))
    rows = drawing.figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, height_ratios=[max(len(ids), least) for ids in members]
    )[:, 0]
    bins = log_bins(steps, _PER_DECADE)
    edges = np.append(steps[bins], steps[-1] + 1).astype(float)
    parts = [_rows(moved, ids, bins) for ids in members]
    seen = np.concatenate([part[np.isfinite(part) & (part > 0)] for part in parts])
    norm = LogNorm(*_range(seen))
    for axes, part, group, ids in zip(rows, parts, groups, members, strict=True):
        # Before the second row nothing is known to rest.
        axes.axvspan(edges[1], edges[-1], color=_REST, linewidth=0, zorder=0)
        image = axes.pcolormesh(
            edges,
            np.linspace(0, len(ids), len(part) + 1),
            np.ma.masked_where(~(part > 0), part),
            cmap="cividis",
            norm=norm,
            rasterized=True,
        )
        drawing.mapped.append(image)
        unknown = np.isnan(part[:, 1:])
        if unknown.any():
            # What is not a number is not at rest.
            grey = np.where(unknown, 1.0, np.nan)
            axes.pcolormesh(
                edges[1:], np.linspace(0, len(ids), len(part) + 1), grey, cmap="Greys", vmin=0, vmax=3
            )
            drawing.notes.append(f"Grey, in {group}: not a number, or more than one can hold.")
        axes.set_ylim(len(ids), 0)
        axes.set_yticks([])
        if len(ids) > _MOST_ROWS:
            axes.set_yticks([0, len(ids) / 2, len(ids)], ["0 %", "50 %", "100 %"])
        order = ", fastest first" if len(ids) > _MOST_ROWS else ""
        text = f"{group} ({len(ids):,}){order}"
        # Beside each other they would overlap: more than two are written one above the other.
        many = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 7} if len(groups) > 2 else {}
        axes.set_ylabel(
            text.replace(" (", "\n(", 1) if many else text, color=colour_of(analysis, group), **many
        )
        for spine in axes.spines.values():
            spine.set_visible(False)
        step_axis(axes, steps, label=axes is rows[-1])
        # The first row has no displacement.
        axes.set_xlim(left=edges[1])
    per = interval_between(analysis.summary["stride"])
    bar = drawing.figure.colorbar(drawing.mapped[0], ax=list(rows), pad=0.02, aspect=35, extend="min")
    bar.set_label(f"displacement per {per} ({LENGTH}); white: at rest")
    bar.outline.set_visible(False)
    if "token_count" not in series and any(len(ids) <= _MOST_ROWS for ids in members):
        drawing.notes.append("The rows are in the order of token ids.")
    drawing.notes += [
        _folded(group, moved[:, ids])
        for group, ids in zip(groups, members, strict=True)
        if len(ids) > _MOST_ROWS
    ]
    drawing.alt = (
        f"Heat map of the RMS displacement of tokens in ranges of steps, from {seen.min():.2g} "
        f"to {seen.max():.2g} {LENGTH}."
    )
    return drawing


def _rows(moved: NDArray[np.float64], ids: NDArray[np.int64], bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(row, column)`` of the map of a group.

    Args:
        moved: ``(step, token)`` displacement of each token.
        ids: of the group, in the order of its rows.
        bins: first step of each column.

    Returns:
        RMS displacement within the column: of each token; of more than there are rows, quantiles over the
        tokens, from the largest in the first row to the smallest in the last. NaN where nothing is known.
    """
    columns = [
        rms_in(moved[:, some], bins, np.arange(len(some))).T
        for some in np.split(ids, range(_AT_ONCE, len(ids), _AT_ONCE))
    ]
    tokens = np.concatenate(columns)
    if len(ids) <= _MOST_ROWS:
        return tokens
    tokens = -np.sort(-tokens, axis=0)
    known = (~np.isnan(tokens)).sum(axis=0)
    place = np.rint(np.linspace(0, 1, _MOST_ROWS)[:, None] * np.maximum(known - 1, 0)).astype(np.int64)
    return np.asarray(np.take_along_axis(tokens, place, axis=0), np.float64)


def _folded(group: str, moved: NDArray[np.float64]) -> str:
    """What to know of a group with more tokens than rows."""
    never = int((~(np.nan_to_num(moved) > 0).any(axis=0)).sum())
    everybody = moved.shape[1]
    return (
        f"Each column of {group} is sorted by itself, the token that moves furthest at the top: the height "
        f"of the white is the share of tokens at rest. {never:,} of {everybody:,} "
        f"({never / everybody:.0%}) never move."
    )


def _ordered(analysis: Analysis, group: str) -> NDArray[np.int64]:
    """Ids of a group, most frequent first."""
    ids = tokens_of(analysis, group)
    if "token_count" not in analysis.series:
        return ids
    return ids[np.argsort(-analysis.series["token_count"].to_numpy()[ids], kind="stable")]


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """From the first percentile to the largest, so that a rare crawl does not take up the colours."""
    low, high = float(np.percentile(values, 1)), float(values.max())
    return (low, high) if low < high else (high / 10, high)
