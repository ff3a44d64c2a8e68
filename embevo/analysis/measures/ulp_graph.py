"""Which tokens are within a few ULPs of one another: the graph around black holes."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.lattice import places
from embevo.analysis.measures.measure import Measure, Variable, Whole
from embevo.analysis.measures.outline import Outline

REACHES: Final = (0, 1, 4, 16, 64)
# Pairs that are looked at in one go.
_AT_ONCE: Final = 1 << 16
_GRAPH: Final = (
    "tokens are joined that are within k ULPs in every element (L∞). Above 1,000 tokens among every k-th one"
)


class UlpGraph(Measure):
    """Components, degrees and density of the graph of tokens within k ULPs."""

    section = "Lattice"
    variables = (
        Variable(
            "reach",
            ("reach",),
            "ULPs within which tokens are joined",
            "ULP",
            "0, 1, 4, 16 and 64: joined by 0 are the tokens of black holes, +0 and -0 being equal",
            "the run",
        ),
        Variable(
            "graph_components",
            ("measured_step", "reach"),
            "components with more than one token",
            "1",
            f"components of two or more tokens in the graph of the step: {_GRAPH}",
            "each row",
        ),
        Variable(
            "graph_largest",
            ("measured_step", "reach"),
            "tokens in the largest component",
            "tokens",
            "tokens in the largest component; 1 where none are joined",
            "each row",
        ),
        Variable(
            "graph_isolated",
            ("measured_step", "reach"),
            "tokens that are alone",
            "tokens",
            "tokens that are joined to no other",
            "each row",
        ),
        Variable(
            "graph_degree",
            ("measured_step", "reach"),
            "mean number of tokens within reach",
            "tokens",
            "mean degree: twice the number of pairs over that of tokens",
            "each row",
        ),
        Variable(
            "graph_density",
            ("measured_step", "reach"),
            "share of pairs within reach",
            "1",
            "pairs that are joined over all pairs",
            "each row",
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """There are pairs."""
        return outline.tokens > 1

    def take(self, block: Block) -> None:
        """The graphs of each measured row."""
        sampled = self.outline.sample.together
        for place in block.measured:
            values = block.values[place][sampled]
            if np.isnan(values).any():
                graphs = np.full((len(REACHES), 5), np.nan)
            else:
                graphs = graphs_of(places(values, self.outline.dtype))
            components, largest, isolated, degree, density = graphs.T[:, None]
            self.keep(
                graph_components=components,
                graph_largest=largest,
                graph_isolated=isolated,
                graph_degree=degree,
                graph_density=density,
            )

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The graphs of all measured rows."""
        return {**super().finish(whole), "reach": np.array(REACHES)}


def graphs_of(numbers: NDArray[np.integer]) -> NDArray[np.float64]:
    """Components, tokens in the largest, isolated ones, mean degree and density, for each of REACHES.

    Args:
        numbers: ``(token, dim)`` places on the lattice.
    """
    # int64 holds the difference of two numbers of 32 bits; those of 64 bits that are so far apart are not
    # near.
    wide = numbers.astype(np.int64)
    points, size = np.unique(wide, axis=0, return_counts=True)
    one, other, apart = near_pairs(points, max(REACHES))
    total = len(numbers)
    found = np.empty((len(REACHES), 5))
    for row, reach in enumerate(REACHES):
        near = apart <= reach
        pairs = (size * (size - 1)).sum() / 2 + (size[one[near]] * size[other[near]]).sum()
        tokens = np.bincount(_components(len(points), one[near], other[near]), weights=size)
        tokens = tokens[tokens > 0]
        found[row] = (
            (tokens > 1).sum(),
            tokens.max(),
            (tokens == 1).sum(),
            2 * pairs / total,
            pairs / (total * (total - 1) / 2),
        )
    return found


def near_pairs(
    points: NDArray[np.int64], reach: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of different points, in ascending order of the first element, with their distance in L∞.

    Args:
        points: ``(point, dim)``, in ascending order of their first element.
        reach: the largest distance that counts.

    Returns:
        The first of each pair, the second, and their distance.
    """
    key = points[:, 0]
    # Sorted by one element, those that can be near in it follow right after. No sum may overflow.
    limit = np.where(key > np.iinfo(np.int64).max - reach, np.iinfo(np.int64).max, key + reach)
    stop = np.searchsorted(key, limit, side="right")
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    count = stop - np.arange(len(points)) - 1
    bounds = np.concatenate([[0], np.cumsum(count)])
    for start in range(0, int(bounds[-1]), _AT_ONCE):
        pair = np.arange(start, min(start + _AT_ONCE, int(bounds[-1])))
        one = np.searchsorted(bounds, pair, side="right") - 1
        other = one + 1 + pair - bounds[one]
        apart = np.zeros(len(pair), np.int64)
        for element in points.T:
            if not len(one):
                break
            low, high = np.minimum(element[one], element[other]), np.maximum(element[one], element[other])
            # As numbers without a sign the difference is right, however far they are apart.
            between = high.view(np.uint64) - low.view(np.uint64)
            near = between <= reach
            one, other = one[near], other[near]
            apart = np.maximum(apart[near], between[near].astype(np.int64))
        found.append((one, other, apart))
    if not found:
        nobody = np.zeros(0, np.int64)
        return nobody, nobody, nobody
    ones, others, aparts = (np.concatenate(of) for of in zip(*found, strict=True))
    return ones, others, aparts


def _components(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each point the smallest one that it is connected with."""
    label = np.arange(count)
    while True:
        least = np.minimum(label[one], label[other])
        now = label.copy()
        np.minimum.at(now, one, least)
        np.minimum.at(now, other, least)
        # A label is itself a point, which may have a smaller one by now.
        now = now[now]
        if np.array_equal(now, label):
            return label
        label = now
