"""Which tokens look hardly trained? Distances to the mean vector of those that never occur."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.components import Components
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole
from embevo.analysis.measures.outline import Outline


class Undertrained(Measure):
    """Indicators of under-trained tokens in the last row; they need tokens that are known to be unused."""

    section = "Tokens"
    variables = (
        Variable(
            "unused_cosine",
            ("token",),
            "cosine distance to the mean of the dead",
            "1",
            "1 - cos(x, u), u the mean vector of the dead: near 0 for tokens that look unused (Land and "
            "Bartolo, EMNLP 2024, for tied matrices and for the output embeddings; the formulas are those of "
            "the authors' code)",
            "first and last row",
        ),
        Variable(
            "unused_cosine_without",
            ("token",),
            "cosine distance to the mean of the dead, without the first component",
            "1",
            "`unused_cosine` of x - (x . p) p, p the first principal component of all tokens (likewise)",
            "first and last row",
        ),
        Variable(
            "unused_distance",
            ("token",),
            "distance to the mean of the dead",
            "embedding units",
            r"\|x - u\| (likewise)",
            "first and last row",
        ),
    )
    numbers = (
        Number(
            "undertrained",
            "live tokens that look as unused as half of the dead",
            "tokens",
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """Some tokens are known to be unused, and some are not."""
        return bool(len(outline.groups["dead"]) and len(outline.groups["live"]))

    def take(self, block: Block) -> None:
        """The last row is given in the end."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The indicators of the last row."""
        points, dead = whole.last.astype(np.float64), self.outline.groups["dead"]
        with np.errstate(invalid="ignore", over="ignore"):
            direction = Components.of(points).basis[0]
            without = points - np.outer(points @ direction, direction)
            return {
                **super().finish(whole),
                "unused_cosine": _from_mean(points, dead),
                "unused_cosine_without": _from_mean(without, dead),
                "unused_distance": norms(points - points[dead].mean(axis=0)),
            }

    def tell(self) -> Mapping[str, Any]:
        """How many live tokens are at most as far from the mean of the dead as half of these are."""
        distance, groups = self.whole.arrays["unused_cosine"], self.outline.groups
        limit = np.median(distance[groups["dead"]])
        return {"undertrained": int((distance[groups["live"]] <= limit).sum())}


def _from_mean(points: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(token,)`` cosine distances to the mean of some of the points."""
    mean = points[ids].mean(axis=0)
    # The authors bound the lengths from below, so that a vector of length 0 has a distance of 1.
    lengths = np.maximum(norms(points) * np.linalg.norm(mean), 1e-6)
    return np.asarray(1 - points @ mean / lengths, np.float64)
