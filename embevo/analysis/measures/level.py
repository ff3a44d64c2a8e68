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

    def put(self, start: int, rows: "Rows", *, consecutive: bool = False) -> None:
        """Copy rows into these, from row ``start`` on.

        Args:
            start: number of the first.
            rows: to copy.
            consecutive: these rows lie in the memory of those before them, one row further on.
        """
        place = slice(start, start + len(rows.number))
        if consecutive:
            # Where the others were, the row before each says.
            self.before[start] = rows.before[0]
        else:
            self.before[place] = rows.before
        self.position[place] = rows.position
        self.number[place] = rows.number
        self.follows[place] = rows.follows


class Level:
    """The last origins of one spacing; each is copied once, and rarely once more.

    Attributes:
        fresh: how many of the last rows have not been paired with those before them.
    """

    def __init__(self, *, consecutive: bool) -> None:
        """Without a row.

        Args:
            consecutive: no row lies between two of those that come, so that each is the one before the next.
        """
        self._consecutive = consecutive
        self._rows: Rows | None = None
        self._used = 0
        self.fresh = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of rows that were copied, or sent from elsewhere, those before lie in memory of their own."""
        self.__dict__.update(state)
        if self._consecutive and self._rows is not None:
            copied = self._rows.select(slice(self._used))
            self._rows = _room_for(copied, 0, consecutive=True)
            self._rows.put(0, copied, consecutive=True)

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
            room = rows if rows is not None and fits else _room_for(new, size, consecutive=self._consecutive)
            if rows is not None and size:
                room.put(0, rows.select(kept), consecutive=self._consecutive)
            self._rows, self._used, rows = room, size, room
        rows.put(self._used, new, consecutive=self._consecutive)
        self._used += count
        self.fresh += count


def _room_for(new: Rows, kept: int, *, consecutive: bool) -> Rows:
    # Not more: the system takes as long to give out memory as it takes to copy the rows.
    rows = max(2 * PER_LEVEL, kept + len(new.number))
    shape = (rows + 1, *new.position.shape[1:])
    position = np.empty(shape, new.position.dtype)
    before = position if consecutive else np.empty(shape, new.before.dtype)
    return Rows(
        position[1:],
        before[:-1],
        np.empty(rows, np.int64),
        np.empty(rows, np.bool_),
    )
