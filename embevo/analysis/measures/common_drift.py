"""How much of the tokens' motion, and of where they are, is common to all of them?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Number, Told, Variable, Whole


class CommonDrift(Measure):
    """Shares of the mean vector in the second moments of displacements and of vectors.

    It is made of what other measures have found, and reads nothing.
    """

    section = "Motion"
    variables = (
        Variable(
            "common_motion",
            ("step", "group"),
            "share of the motion that is common",
            "1",
            r"\|mean v\|² / mean \|v\|² over G: 1 where all move alike, about 1 / n where n tokens move "
            "independently; NaN where nothing moves (the common enemy of Biś, Podkorytov and Liu, NAACL "
            "2021)",
            "each row and the one before",
        ),
        Variable(
            "second_moment",
            ("step", "group"),
            "second moment of the vectors",
            "embedding units^2",
            r"mean \|x\|² over G = \|c\|² + `radius_rms`²",
            "each row",
        ),
        Variable(
            "common_place",
            ("step", "group"),
            "share of the second moment that is common",
            "1",
            r"\|c\|² / mean \|x\|² over G: 0 for a cloud about the origin, 1 where all vectors are one "
            "(the shift of the mean embedding that Stollenwerk and Stollenwerk, ACL 2025, explain by Adam's "
            "second moments)",
            "each row",
            Told(),
        ),
    )
    numbers = (
        Number("common_steps", "recorded intervals in which most of the motion is common", "intervals"),
    )

    def take(self, block: Block) -> None:
        """Others have taken it."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The shares of all rows."""
        arrays = whole.arrays
        bulk, peculiar = arrays["displacement_bulk"] ** 2, arrays["displacement_peculiar_rms"] ** 2
        common, spread = arrays["centroid_norm"] ** 2, arrays["radius_rms"] ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            found = {
                "common_motion": bulk / (bulk + peculiar),
                "second_moment": common + spread,
                "common_place": common / (common + spread),
            }
        return {**super().finish(whole), **found}

    def tell(self) -> Mapping[str, Any]:
        """In how many intervals more than half of the motion of each group is common."""
        most = (self.whole.arrays["common_motion"] > 0.5).sum(axis=0).tolist()
        return {"common_steps": dict(zip(self.outline.groups.names, most, strict=True))}
