"""The last rows of one spacing, which lagged differences are taken with."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Rows that a level keeps: its longest lag. Lags are four an octave from 8 on, so the spacing of origins is a
# 20th to a 32nd of a level's lags.
PER_LEVEL: Final = 32


@dataclass
class Rows:
    """Consecutive rows, or every so many: positions, velocities, their numbers, and who has a velocity."""

    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    number: NDArray[np.int64]
    follows: NDArray[np.bool_]

    def select(self, rows: slice) -> "Rows":
        """Some of the rows, as a view."""
        return Rows(self.position[rows], self.velocity[rows], self.number[rows], self.follows[rows])

    def copy(self) -> "Rows":
        """The same rows in memory of their own."""
        return Rows(self.position.copy(), self.velocity.copy(), self.number.copy(), self.follows.copy())

    def and_then(self, rows: "Rows") -> "Rows":
        """These rows and others after them."""
        return Rows(
            np.concatenate([self.position, rows.position]),
            np.concatenate([self.velocity, rows.velocity]),
            np.concatenate([self.number, rows.number]),
            np.concatenate([self.follows, rows.follows]),
        )

    def put(self, start: int, rows: "Rows") -> None:
        """Copy rows into these, from row ``start`` on."""
        place = slice(start, start + len(rows.number))
        self.position[place] = rows.position
        self.velocity[place] = rows.velocity
        self.number[place] = rows.number
        self.follows[place] = rows.follows


class Level:
    """The last origins of one spacing; each is copied once, and rarely once more."""

    def __init__(self) -> None:
        self._rows: Rows | None = None
        self._used = 0

    @property
    def rows(self) -> Rows:
        """The last rows, as many as the longest lag needs or there are."""
        if self._rows is None:
            raise IndexError("no row has been appended")
        return self._rows.select(slice(max(0, self._used - PER_LEVEL), self._used))

    def append(self, new: Rows) -> Rows:
        """The rows before, as many as the longest lag needs or there are, and the new ones."""
        count = len(new.number)
        rows = self._rows
        if rows is None or self._used + count > len(rows.number):
            kept = slice(max(0, self._used - PER_LEVEL), self._used)
            size = kept.stop - kept.start
            # The rows that stay are moved to the front, unless they would overlap or leave too little room.
            fits = rows is not None and size + count <= len(rows.number) and size <= kept.start
            room = rows if rows is not None and fits else self._room_for(new)
            if rows is not None:
                room.put(0, rows.select(kept))
            self._rows, self._used, rows = room, size, room
        rows.put(self._used, new)
        first = max(0, self._used - PER_LEVEL)
        self._used += count
        return rows.select(slice(first, self._used))

    def _room_for(self, new: Rows) -> Rows:
        shape = (PER_LEVEL + max(PER_LEVEL, len(new.number)), *new.position.shape[1:])
        return Rows(
            np.empty(shape), np.empty(shape), np.empty(shape[0], np.int64), np.empty(shape[0], np.bool_)
        )
