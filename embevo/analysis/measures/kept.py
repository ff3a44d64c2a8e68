"""Arrays over steps one after the other, in memory that grows at its end."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# It grows by at least such a part of itself: by little, because all of it is in memory at once.
_SHARE: Final = 32


class Kept:
    """What a measure keeps of every step under one name.

    Of a long run that is most of what is in memory. Kept in the arrays as which it comes, all of it would be
    there twice while these are put together; and what is then given up, many times a megabyte, stays with the
    process.
    """

    def __init__(self) -> None:
        """Begin without steps."""
        self._array: NDArray[Any] | None = None
        self._rows = 0

    @property
    def any(self) -> bool:
        """Whether anything was added."""
        return self._array is not None

    def append(self, array: NDArray[Any]) -> None:
        """Add ``(step, ...)`` of the steps that come next; the first decides on the dtype and the shape."""
        if self._array is None:
            self._array = np.empty((0, *array.shape[1:]), array.dtype)
        stop = self._rows + len(array)
        if stop > len(self._array) or not self._array.flags.owndata:
            self._resize(max(stop, len(self._array) + len(self._array) // _SHARE))
        self._array[self._rows : stop] = array
        self._rows = stop

    def taken(self) -> NDArray[Any]:
        """``(step, ...)`` all of it, which is given up here.

        Raises:
            ValueError: nothing was added.
        """
        if self._array is None:
            raise ValueError("nothing was kept")
        self._resize(self._rows)
        found, self._array, self._rows = self._array, None, 0
        return found

    def _resize(self, rows: int) -> None:
        if self._array is None:
            return
        shape = (rows, *self._array.shape[1:])
        if self._array.flags.owndata:
            # Nobody else has this array: the pages of a large one are moved, and not copied.
            self._array.resize(shape, refcheck=False)
            return
        # It came from another process, and lies in what was received, where nothing may be written.
        mine = np.empty(shape, self._array.dtype)
        mine[: self._rows] = self._array[: self._rows]
        self._array = mine
