"""Do tokens keep their neighbours? The overlap of each token's nearest with those before, and at the end."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Variable, Whole
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.pairs import nearest

NEAREST: Final = 10
_SAID: Final = (
    f"the {NEAREST} nearest tokens of each, by Euclidean distance, of equally near ones those with the "
    "smallest ids. Above 1,000 tokens among every k-th one"
)


class Neighbours(Measure):
    """The mean overlap (Jaccard) of sets of nearest tokens."""

    section = "Similarity"
    variables = (
        Variable(
            "neighbours_before",
            ("measured_step", "group"),
            "overlap of neighbours with those at the measured step before",
            "1",
            r"mean over G of \|A and B\| / \|A or B\| (Jaccard, 1901), A and B the neighbours at this "
            "measured step and the one before: NaN in the first. Neighbours are " + _SAID,
            "each row",
        ),
        Variable(
            "neighbours_last",
            ("measured_step", "group"),
            "overlap of neighbours with those in the last row",
            "1",
            "`neighbours_before` with the last row in place of the one before (Hamilton, Leskovec and "
            "Jurafsky, EMNLP 2016, compare neighbours over time likewise)",
            "each row",
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """There are enough tokens for some to be no neighbours."""
        return outline.tokens > NEAREST + 1

    def take(self, block: Block) -> None:
        """The rows that are compared are kept by others."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The overlaps of all measured rows."""
        outline = self.outline
        sampled = np.searchsorted(outline.kept.together, outline.sample.together)
        rows = whole.snapshots[:, sampled].astype(np.float64)
        before, last = self.by_group(len(rows)), self.by_group(len(rows))
        final = _near(rows[-1])
        earlier = None
        for number, row in enumerate(rows):
            near = final if number == len(rows) - 1 else _near(row)
            for found, other in ((before, earlier), (last, final)):
                if near is not None and other is not None:
                    overlap = jaccard(near, other)
                    for group, places in enumerate(outline.sample_places):
                        if len(places):
                            found[number, group] = overlap[places].mean()
            earlier = near
        return {**super().finish(whole), "neighbours_before": before, "neighbours_last": last}


def _near(points: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    return nearest(points, NEAREST) if np.isfinite(points).all() else None


def jaccard(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``(token,)`` the overlap of the sets that the rows of both say the members of."""
    return np.asarray((one & other).sum(axis=1) / (one | other).sum(axis=1), np.float64)
