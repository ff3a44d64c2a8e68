"""Which way do vectors point? Cosines with where they began, and with where they end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Told, Variable, Whole


class Direction(Measure):
    """Cosines of each vector with itself at the first and at the last step."""

    section = "Similarity"
    variables = (
        Variable(
            "cosine_first",
            ("measured_step", "group"),
            "mean cosine with the first vector",
            "1",
            r"mean over G of x(t) . x(first) / (\|x(t)\| \|x(first)\|), without vectors that are 0",
            "each row",
        ),
        Variable(
            "cosine_last",
            ("measured_step", "group"),
            "mean cosine with the last vector",
            "1",
            "`cosine_first` with the last row in place of the first",
            "each row",
            Told(),
        ),
        Variable(
            "cosine_net",
            ("token",),
            "cosine between first and last vector",
            "1",
            r"x(last) . x(first) / (\|x(last)\| \|x(first)\|); NaN where one is 0",
            "first and last row",
        ),
    )

    def take(self, block: Block) -> None:
        """The rows that are compared are kept by others."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The cosines of all measured rows, and of each token."""
        rows = whole.snapshots
        first, last = rows[0].astype(np.float64), rows[-1].astype(np.float64)
        found = {name: self.by_group(len(rows)) for name in ("cosine_first", "cosine_last")}
        for number, row in enumerate(rows):
            points = row.astype(np.float64)
            for name, other in (("cosine_first", first), ("cosine_last", last)):
                cosine = cosines(points, other)
                for group, places in enumerate(self.outline.kept_places):
                    found[name][number, group] = _mean(cosine[places], points[places], other[places])
        net = cosines(whole.last.astype(np.float64), whole.first.astype(np.float64))
        return {**super().finish(whole), **found, "cosine_net": net}


def cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(token,)`` cosines between the rows of two matrices; NaN where one of them is 0."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        product = np.einsum("td,td->t", one, other) / norms(one) / norms(other)
    return np.asarray(product.clip(-1, 1), np.float64)


def _mean(cosine: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The mean of those that there are; what is not a number counts, a vector of length 0 does not."""
    there = one.any(axis=1) & other.any(axis=1)
    return float(cosine[there].mean()) if there.any() else float("nan")
