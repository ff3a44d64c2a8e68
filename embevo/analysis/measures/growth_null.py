"""Growth of a cloud beside that of one whose tokens take steps of the same lengths in random directions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.bands import Band, bands
from embevo.analysis.measures.growth import flight, half_growth_row
from embevo.analysis.measures.pieces import Piece
from embevo.analysis.measures.random_directions import Directions, mean_square

# Simulated clouds, and tokens of each at most: fewer tokens than there are scatter more, not less.
_CLOUDS, _MOST_TOKENS = 199, 128


@dataclass(frozen=True)
class Growing:
    """The rows of a cloud.

    Attributes:
        radius: ``(row,)`` RMS radius.
        peculiar: ``(row,)`` RMS displacement from the row before, beside that of the centroid, or with it.
        directions: how its tokens' steps are imitated.
        tokens: how many it has.
    """

    radius: NDArray[np.float64]
    peculiar: NDArray[np.float64]
    directions: Directions
    tokens: int

    def flights(self, pieces: Sequence[Piece]) -> dict[str, Band]:
        """:func:`~embevo.analysis.measures.growth.flight` until half of the growth of each piece."""
        values, spans = [], []
        for piece in pieces:
            radius = self.radius[piece.first : piece.last + 1]
            row = half_growth_row(radius)
            # Of a cloud that did not grow, all of its way.
            row = piece.intervals if row is None else row
            values.append(flight(radius, self.peculiar[piece.first :], row))
            spans.append((piece.first, piece.first + row))
        null = np.full((_CLOUDS, len(pieces)), np.nan)
        for at, (squares, (first, last)) in enumerate(zip(self._squares(spans), spans, strict=True)):
            way = self.peculiar[first + 1 : last + 1].sum()
            if way > 0:
                null[:, at] = (np.sqrt(squares) - self.radius[first]) / way
        found = bands(np.array(values), null)
        return {piece.name: band for piece, band in zip(pieces, found, strict=True)}

    def settlings(self, pieces: Sequence[Piece]) -> dict[str, Band]:
        """Growth of the squared radius, over what random directions add to it on average, in each piece.

        That average is known, and is not that over the simulated clouds: where tokens hardly move in a cloud
        that is large, these scatter by more than it is.
        """
        spans = [(piece.first, piece.last) for piece in pieces]
        values = np.full(len(pieces), np.nan)
        null = np.full((_CLOUDS, len(pieces)), np.nan)
        for at, (squares, (first, last)) in enumerate(zip(self._squares(spans), spans, strict=True)):
            added = self._added(first, last)
            if added > 0:
                values[at] = (self.radius[last] ** 2 - self.radius[first] ** 2) / added
                null[:, at] = (squares - self.radius[first] ** 2) / added
        found = bands(values, null)
        return {piece.name: band for piece, band in zip(pieces, found, strict=True)}

    def independents(self, beside: NDArray[np.float64], pieces: Sequence[Piece]) -> dict[str, Band]:
        """The radius over another, ``(row,)``, at the end of each piece."""
        spans = [(piece.first, piece.last) for piece in pieces]
        ends = np.array([piece.last for piece in pieces])
        with np.errstate(divide="ignore", invalid="ignore"):
            null = np.sqrt(self._squares(spans)).T / beside[ends]
            found = bands(self.radius[ends] / beside[ends], null)
        return {piece.name: band for piece, band in zip(pieces, found, strict=True)}

    def _squares(self, spans: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
        """``(span, cloud)`` squared RMS radius at the end of spans of rows, from that at their beginning.

        Tokens begin in random directions from the centroid, each as far away as the RMS radius, and their
        net displacements are normal.
        """
        rng = np.random.default_rng(0)
        dimensions, tokens = self.directions.dimensions, min(self.tokens, _MOST_TOKENS)
        found = np.empty((len(spans), _CLOUDS))
        for at, (first, last) in enumerate(spans):
            start = rng.standard_normal((_CLOUDS, tokens, dimensions))
            start *= self.radius[first] / np.linalg.norm(start, axis=2, keepdims=True)
            length = math.sqrt(self._added(first, last) / dimensions)
            moved = rng.standard_normal((_CLOUDS, tokens, dimensions)) * length
            found[at] = ((start + moved) ** 2).sum(axis=2).mean(axis=1)
        return found

    def _added(self, first: int, last: int) -> float:
        """What is added to the squared RMS radius between two rows, on average."""
        return mean_square(np.nan_to_num(self.peculiar[first + 1 : last + 1]), self.directions)
