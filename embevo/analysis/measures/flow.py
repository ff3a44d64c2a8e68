"""How a group moves as a whole, and how its tokens move beside that."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Told, Variable, Whole

_LENGTH = "embedding units"


class Flow(Measure):
    """The mean displacement of a group's tokens, and what is left of them beside it."""

    section = "Motion"
    variables = (
        Variable(
            "displacement_bulk",
            ("step", "group"),
            "distance of the centroid from the row before",
            _LENGTH,
            r"\|mean v\| over G",
            "each row and the one before",
        ),
        Variable(
            "displacement_peculiar_rms",
            ("step", "group"),
            "RMS displacement less that of the centroid",
            _LENGTH,
            r"sqrt(mean \|v - mean v\|²) over G",
            "each row and the one before",
        ),
        Variable(
            "centroid_path",
            ("step", "group"),
            "length of the centroid's path",
            _LENGTH,
            "sum of `displacement_bulk` over the rows up to this one, 0 in the first",
            "each row and the one before",
            Told(change=False),
        ),
    )

    def take(self, block: Block) -> None:
        """The displacements of each row."""
        bulk, peculiar = norms(block.flows.centre), block.flows.radius_rms
        if block.before is None:
            bulk[0] = peculiar[0] = np.nan
        self.keep(displacement_bulk=bulk, displacement_peculiar_rms=peculiar)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' displacements, and the length of the way."""
        found = dict(super().finish(whole))
        bulk = found["displacement_bulk"]
        path = np.cumsum(np.concatenate([np.nan_to_num(bulk[:1], nan=0.0), bulk[1:]]), axis=0)
        path[:, [not len(ids) for ids in self.outline.groups.ids]] = np.nan
        return found | {"centroid_path": path}
