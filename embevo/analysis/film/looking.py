"""What a film shows of its steps: where the tokens are and which share their place, from one look at each."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.measures.identity import representatives
from embevo.analysis.measures.singularities import membership
from embevo.analysis.projection import project


def look(
    run: Path, steps: NDArray[np.int64], series: xr.Dataset, crowded: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read steps once: of a large vocabulary that takes longer than all of the drawing.

    Args:
        run: directory of the run.
        steps: ``(frame,)`` ascending global steps.
        series: of an analysis of that run.
        crowded: ``(frame,)`` of which steps the black holes are wanted.

    Returns:
        ``(frame, token, 2)`` as of :func:`~embevo.analysis.projection.project`, and ``(frame, token)`` as of
        :func:`~embevo.analysis.membership.black_holes`, -1 in the steps whose are not wanted.
    """
    found: dict[int, NDArray[np.int64]] = {}

    def find(places: NDArray[np.int64], values: NDArray[Any]) -> None:
        wanted = crowded[places]
        if wanted.any():
            same = representatives(values if wanted.all() else values[wanted])
            found.update(zip(places[wanted].tolist(), map(membership, same), strict=True))

    points = project(run, steps, series, components=2, on_values=find)
    holes = np.full(points.shape[:2], -1, np.int64)
    for place, held in found.items():
        holes[place] = held
    return points, holes
