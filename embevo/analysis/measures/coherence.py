"""Do tokens move the same way? The mean cosine between their displacements."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, of_group
from embevo.analysis.measures.geometry import norms, sum_of_units
from embevo.analysis.measures.measure import Measure, Number, Variable


class Coherence(Measure):
    """The mean cosine between the displacements of dead tokens."""

    section = "Motion"
    variables = (
        Variable(
            "dead_coherence",
            ("step",),
            "mean cosine between displacements of dead tokens",
            "1",
            "mean over pairs of dead tokens that both moved of the cosine between their v",
            "each row and the one before",
        ),
    )
    numbers = (
        Number("dead_coherence", "mean cosine between displacements of dead tokens, over all steps", "1"),
    )

    def take(self, block: Block) -> None:
        """The mean cosine of each row."""
        dead = self.outline.groups.names.index("dead")
        lengths = of_group(block.distances, self.outline.groups.ids[dead])
        found = _mean_cosine(block.directions(dead), lengths)
        if block.before is None:
            found[0] = np.nan
        self.keep(dead_coherence=found)

    def tell(self) -> Mapping[str, Any]:
        """The mean cosine over all steps at which there is one; NaN without any."""
        values = self.whole.arrays["dead_coherence"]
        known = values[np.isfinite(values)]
        return {"dead_coherence": float(known.mean()) if len(known) else float("nan")}


def mean_pairwise_cosine(displacements: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean, over pairs of different tokens that both moved, of the cosine of their displacements.

    With unit vectors u of n moving tokens it is (|sum u|^2 - n) / (n (n - 1)): no pair is looked at.

    Args:
        displacements: ``(step, token, dim)``.

    Returns:
        ``(step,)``, from -1/(n-1) to 1; NaN where fewer than two tokens moved, or one is not finite.
    """
    lengths = norms(displacements)
    return _mean_cosine(sum_of_units(displacements, lengths), lengths)


def _mean_cosine(total: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same, from the sums of unit vectors ``(step, dim)`` and the norms ``(step, token)``."""
    count = (lengths != 0).sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (np.einsum("sd,sd->s", total, total) - count) / (count * (count - 1))
    found[count < 2] = np.nan
    return np.asarray(found, np.float64)
