"""animate(): the cloud in the plane of its principal components, step by step, as a film."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.style import styled
from embevo.analysis.film.encoding import Suffix, find_ffmpeg, suffix_of, write_film
from embevo.analysis.film.looking import look
from embevo.analysis.film.moving_cloud import MovingCloud
from embevo.analysis.film.view import PLACES, View
from embevo.errors import NothingToDrawError
from embevo.run.paths import absolute

# Pixels an inch. A GIF is smaller, as its bytes are not compressed from frame to frame.
_DPI: Final[dict[Suffix, int]] = {".mp4": 120, ".gif": 80}


def frame_rows(rows: int, frames: int, first: int = 0) -> NDArray[np.int64]:
    """Rows of a run that are shown: evenly spaced in the logarithm, as far as there are rows for that.

    Args:
        rows: how many were recorded, up to the last one that is shown.
        frames: how many to show.
        first: the first row that is shown.

    Returns:
        ``(frame,)`` int64, ascending, from ``first`` to ``rows - 1``; all of these if there are fewer than
        ``frames``.
    """
    count = min(rows - first, frames)
    if count < 2:
        return np.arange(rows - count, rows)
    spaced = np.geomspace(first + 1, rows, count).round().astype(np.int64) - 1
    # Where the logarithm asks for the same row again, the rows follow each other one by one.
    return np.maximum(spaced, first + np.arange(count))


def animate(
    analysis: Analysis,
    out: Path,
    *,
    frames: int = 240,
    fps: int = 24,
    labels: bool = False,
    view: View = PLACES,
    between: tuple[int, int] | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> int:
    """Write a film.

    Args:
        analysis: of the run.
        out: an .mp4 or a .gif; its directory exists.
        frames: how many steps to show.
        fps: of them a second.
        labels: write the names of frequent tokens beside them, where there is room.
        view: show motion magnified, or displacement from the start; the picture says so, and black holes,
            whose members then need not be at one point, are not ringed.
        between: the first and the last step that may be shown; by default those of the run.
        on_frame: called after each frame with how many are done, and how many there will be.

    Returns:
        The number of steps that are shown.

    Raises:
        DestinationError: another suffix.
        FilmError: there is no ffmpeg, or it failed.
        NothingToDrawError: there is no plane to project on, or no step is between those named.
    """
    out = absolute(out)
    form = suffix_of(out)
    if form == ".mp4":
        find_ffmpeg()
    series = analysis.series
    if series.sizes["component"] < 2:
        raise NothingToDrawError("the embedding has one dimension, or there is one token: that is no plane")
    recorded = series["step"].to_numpy()
    first, last = (recorded[0], recorded[-1]) if between is None else between
    start, stop = np.searchsorted(recorded, first), np.searchsorted(recorded, last, "right")
    if start >= stop:
        raise NothingToDrawError(
            f"no step from {first:,} to {last:,} was recorded: choose steps between {recorded[0]:,} and "
            f"{recorded[-1]:,}, the first before the last"
        )
    rows = frame_rows(int(stop), frames, int(start))
    steps = recorded[rows]
    crowded = series["black_holes"].sel(group="all").to_numpy()[rows] > 0
    points, holes = look(analysis.run_path, steps, series, crowded & view.in_place)
    if not np.isfinite(points).any():
        raise NothingToDrawError("no token is at a finite place")
    with styled():
        cloud = MovingCloud(analysis, view.of(points), holes, steps, _DPI[form], labels=labels, view=view)
        write_film(out, cloud.frames(on_frame), fps)
    return len(rows)
