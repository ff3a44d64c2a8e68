"""The last rows of one spacing, which lagged differences are taken with."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Rows that a level keeps: its longest lag. Lags are four an octave from 8 on, so the spacing of origins is a
# 20th to a 32nd of a level's lags.
PER_LEVEL: Final = 32


@dataclass
class Rows:
    """Consecutive rows, or every so many, as they were recorded: what is taken of them is float64.

    Attributes:
        position: ``(row, token, dim)``.
        before: the same shape, where they were one row before.
        number: ``(row,)`` of each in the run.
        follows: ``(row,)`` whether there is a row before it.
    """

    position: NDArray[Any]
    before: NDArray[Any]
    number: NDArray[np.int64]
    follows: NDArray[np.bool_]

    def select(self, rows: slice) -> "Rows":
        """Some of the rows, as a view."""
        return Rows(self.position[rows], self.before[rows], self.number[rows], self.follows[rows])

    def copy(self) -> "Rows":
        """The same rows in memory of their own."""
        return Rows(self.position.copy(), self.before.copy(), self.number.copy(), self.follows.copy())

    def and_then(self, rows: "Rows") -> "Rows":
        """These rows and others after them."""
        return Rows(
            np.concatenate([self.position, rows.position]),
            np.concatenate([self.before, rows.before]),
            np.concatenate([self.number, rows.number]),
            np.concatenate([self.follows, rows.follows]),
        )

    def put(self, start: int, rows: "Rows") -> None:
        """Copy rows into these, from row ``start`` on."""
        place = slice(start, start + len(rows.number))
        self.position[place] = rows.position
        self.before[place] = rows.before
        self.number[place] = rows.number
        self.follows[place] = rows.follows


class Level:
    """The last origins of one spacing; each is copied once, and rarely once more.

    Attributes:
        fresh: how many of the last rows have not been paired with those before them.
    """

    def __init__(self) -> None:
        self._rows: Rows | None = None
        self._used = 0
        self.fresh = 0

    @property
    def rows(self) -> Rows:
        """The last rows: those that are fresh, and as many before as the longest lag needs or there are."""
        if self._rows is None:
            raise IndexError("no row has been appended")
        return self._rows.select(slice(max(0, self._used - self.fresh - PER_LEVEL), self._used))

    def append(self, new: Rows) -> None:
        """Copy rows, which are fresh then."""
        count = len(new.number)
        rows = self._rows
        if rows is None or self._used + count > len(rows.number):
            kept = slice(max(0, self._used - self.fresh - PER_LEVEL), self._used)
            size = kept.stop - kept.start
            # The rows that stay are moved to the front, unless they would overlap or leave too little room.
            fits = rows is not None and size + count <= len(rows.number) and size <= kept.start
            room = rows if rows is not None and fits else _room_for(new, size)
            if rows is not None:
                room.put(0, rows.select(kept))
            self._rows, self._used, rows = room, size, room
        rows.put(self._used, new)
        self._used += count
        self.fresh += count


def _room_for(new: Rows, kept: int) -> Rows:
    rows = max(2 * PER_LEVEL, kept + len(new.number))
    shape = (rows, *new.position.shape[1:])
    return Rows(
        np.empty(shape, new.position.dtype),
        np.empty(shape, new.before.dtype),
        np.empty(rows, np.int64),
        np.empty(rows, np.bool_),
    )
