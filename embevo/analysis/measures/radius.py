"""How large the cloud of a group of tokens is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import Cloud
from embevo.analysis.measures.measure import Measure, Told, Variable, Whole

_LENGTH = "embedding units"


class Radius(Measure):
    """Distances of a group's tokens from its centroid."""

    section = "Geometry"
    variables = (
        Variable(
            "radius_rms",
            ("step", "group"),
            "RMS radius",
            _LENGTH,
            r"sqrt(mean \|x - c\|²) over G, the radius of gyration",
            "each row",
            Told(groups=("all", "live", "dead")),
        ),
        Variable(
            "radius_max",
            ("step", "group"),
            "largest distance from the group's centroid",
            _LENGTH,
            r"max \|x - c\| over G",
            "each row",
        ),
        Variable(
            "radius_first",
            ("token",),
            "distance from the centroid of all in the first row",
            _LENGTH,
            r"\|x - c(all)\| in the first row",
            "first and last row",
        ),
        Variable(
            "radius_last",
            ("token",),
            "distance from the centroid of all in the last row",
            _LENGTH,
            r"\|x - c(all)\| in the last row",
            "first and last row",
        ),
    )

    def take(self, block: Block) -> None:
        """The radii of each row."""
        self.keep(radius_rms=block.clouds.radius_rms, radius_max=block.clouds.radius_max)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' radii, and each token's distance from the centroid in the first and the last row."""
        first, last = (Cloud.of(row[None].astype(np.float64)) for row in (whole.first, whole.last))
        return {
            **super().finish(whole),
            "radius_first": np.sqrt(first.squares[0]),
            "radius_last": np.sqrt(last.squares[0]),
        }
