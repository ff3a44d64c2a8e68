"""Pieces of a run that its dynamics are asked of again: does what holds of the whole hold of them?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

WHOLE: Final = "the whole run"
LATER: Final = "the run without its first 100 steps"
FIRST: Final = "its first half"
SECOND: Final = "its second half"
# The steps that are left out: a run moves most in its first ones.
_LEFT_OUT: Final = 100


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a run.

    Attributes:
        name: in words.
        first: number of its first row.
        last: of its last.
    """

    name: str
    first: int
    last: int

    @property
    def intervals(self) -> int:
        """How many displacements from row to row it has."""
        return self.last - self.first


def pieces_of(steps: NDArray[np.int64]) -> tuple[Piece, ...]:
    """The whole run, the run without its first hundred steps, and its halves, as far as there are such rows.

    Halves are halves of the rows; both have the row in the middle.
    """
    last = len(steps) - 1
    later = int(np.searchsorted(steps, steps[0] + _LEFT_OUT))
    pieces = (
        Piece(WHOLE, 0, last),
        Piece(LATER, later, last),
        Piece(FIRST, 0, last // 2),
        Piece(SECOND, last // 2, last),
    )
    return tuple(piece for piece in pieces if piece.intervals > 0)


def endings_of(steps: NDArray[np.int64]) -> tuple[Piece, ...]:
    """Ends of a run in which it may have come to rest: its second half, its last quarter, its second quarter.

    The second quarter is the second half of a run that is half as long.
    """
    last = len(steps) - 1
    pieces = (
        Piece(SECOND, last // 2, last),
        Piece("its last quarter", last - last // 4, last),
        Piece("its second quarter", last // 4, last // 2),
    )
    return tuple(piece for piece in pieces if piece.intervals > 0)
