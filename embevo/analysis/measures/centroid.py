"""Where the cloud of a group of tokens is."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Number, Told, Variable, Whole

_LENGTH = "embedding units"


class Centroid(Measure):
    """The mean of a group's vectors."""

    section = "Geometry"
    variables = (
        Variable(
            "centroid", ("step", "group", "dim"), "centroid", _LENGTH, "c = mean of x over G", "each row"
        ),
        Variable(
            "centroid_norm",
            ("step", "group"),
            "distance of the centroid from the origin",
            _LENGTH,
            r"\|c\|",
            "each row",
            Told(),
        ),
        Variable(
            "centroid_displacement",
            ("step", "group"),
            "displacement of the centroid",
            _LENGTH,
            r"\|c(t) - c(0)\|, 0 being the first row",
            "each row",
            Told(change=False),
        ),
        Variable(
            "live_dead_distance",
            ("step",),
            "distance between live and dead centroids",
            _LENGTH,
            r"\|c(live) - c(dead)\|",
            "each row",
        ),
    )
    numbers = (
        Number("live_dead_distance", "distance between live and dead centroids in the last row", _LENGTH),
    )

    def take(self, block: Block) -> None:
        """The centroids of each row."""
        self.keep(centroid=block.clouds.centre)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' centroids, and their distances."""
        found = dict(super().finish(whole))
        centroid = found["centroid"]
        return found | {
            "centroid_norm": norms(centroid),
            "centroid_displacement": norms(centroid - centroid[:1]),
            "live_dead_distance": norms(centroid[:, 1] - centroid[:, 2]),
        }

    def tell(self) -> Mapping[str, Any]:
        """The distance in the last row."""
        return {"live_dead_distance": float(self.whole.arrays["live_dead_distance"][-1])}
