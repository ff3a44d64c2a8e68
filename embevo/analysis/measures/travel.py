"""Where tokens have got to, from one end of a piece of the run to the other, and what takes them there."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.bands import bands
from embevo.analysis.measures.block import Block
from embevo.analysis.measures.coherence import mean_pairwise_cosine
from embevo.analysis.measures.drift import bodies, drifts, separation
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Number, Whole
from embevo.analysis.measures.normals import drawer
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.pieces import pieces_of
from embevo.analysis.measures.random_directions import Directions, walks

# Tokens that the directions of the first row are asked of, and simulated cases.
_TOKENS: Final = 128
_CASES: Final = 199
_FEWEST: Final = 100


class Travel(Measure):
    """Net displacements between the ends of pieces of the run."""

    section = "Motion"
    variables = ()
    numbers = (
        Number("drifts", "way of the bodies together over what independent ones would leave", "1"),
        Number("dead_reach", "net displacement of dead tokens over their distance from the origin", "1"),
        Number("separations", "distance between live and dead beside random directions", "embedding units"),
        Number("start_cosine", "mean cosine between the vectors of the first row", "1"),
    )

    def __init__(self, outline: Outline, start: int = 0) -> None:
        super().__init__(outline, start)
        self._pieces = [piece for piece in pieces_of(outline.steps) if piece.intervals >= _FEWEST]
        self._ends = {row for piece in self._pieces for row in (piece.first, piece.last)}
        self._rows: dict[int, NDArray[Any]] = {}

    def take(self, block: Block) -> None:
        """Keep the rows at which pieces begin or end."""
        for row in self._ends.intersection(range(block.start, block.stop)):
            self._rows[row] = block.values[row - block.start].copy()

    def merge(self, later: Self) -> None:
        """Take over the rows."""
        super().merge(later)
        self._rows |= later._rows

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """Nothing is kept of every step."""
        super().finish(whole)
        self._at = {row: values.astype(np.float64) for row, values in self._rows.items()}
        self._first = whole.first
        self._rows = {}
        # Here, because other measures are compared with chance at the same time.
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            self._told = {
                "drifts": self._drifts(),
                "dead_reach": self._reaches(),
                "separations": self._separations(),
                "start_cosine": self._start(),
            }
        return {}

    def tell(self) -> Mapping[str, Any]:
        """By name of the piece."""
        return self._told

    def _drifts(self) -> dict[str, Any]:
        groups = self.outline.groups
        moved = [self._at[piece.last] - self._at[piece.first] for piece in self._pieces]
        found = drifts([bodies(one, groups["live"], groups["dead"]) for one in moved]) if moved else []
        return {piece.name: dataclasses.asdict(band) for piece, band in zip(self._pieces, found, strict=True)}

    def _reaches(self) -> dict[str, float]:
        """Median over the dead of |x(b) - x(0)| / |x(0)|, b being the end of a piece from the start."""
        dead = self.outline.groups["dead"]
        return {
            piece.name: float(
                np.median(
                    norms(self._at[piece.last][dead] - self._at[piece.first][dead])
                    / norms(self._at[piece.first][dead])
                )
            )
            for piece in self._pieces
            if len(dead) and piece.first == 0
        }

    def _separations(self) -> dict[str, Any]:
        """Distance between live and dead at the end of pieces from the start, beside that of random ways."""
        live, dead = self.outline.groups["live"], self.outline.groups["dead"]
        if not len(live) or not len(dead):
            return {}
        found = {}
        for piece in self._pieces:
            if piece.first == 0:
                before, after = self._at[0], self._at[piece.last]
                ways = bodies(after - before, live, dead)
                apart = before[live].mean(axis=0) - before[dead].mean(axis=0)
                value = float(norms(after[live].mean(axis=0) - after[dead].mean(axis=0)))
                found[piece.name] = dataclasses.asdict(separation(ways, apart, value))
        return found

    def _start(self) -> dict[str, float]:
        """Mean cosine between vectors of the first row, beside vectors in random directions."""
        chosen = self._first[:: -(-len(self._first) // _TOKENS)].astype(np.float64)
        value = float(mean_pairwise_cosine(chosen[None])[0])
        directions = Directions.of(chosen, 0.0)
        null = np.concatenate(
            [
                mean_pairwise_cosine(some.astype(np.float64))
                for some in walks(np.ones(len(chosen)), directions, _CASES, drawer(0))
            ]
        )
        (band,) = bands(np.array([value]), null[:, None])
        return dataclasses.asdict(band)
