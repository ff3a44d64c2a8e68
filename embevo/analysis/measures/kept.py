"""Arrays over steps one after the other, in memory that grows at its end."""

import math
import mmap
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

# It grows to twice its size, but by no more bytes than these, or this part of itself: by little, because all
# of it is in memory at once; and seldom, because the pages of a large array are moved one by one.
_BYTES: Final = 8 << 20
_SHARE: Final = 32
# numpy asks for pages of 2 MiB for arrays of so many bytes, and to find these may take the kernel several
# times as long as filling them.
_LARGE: Final = 4 << 20


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

    def __getstate__(self) -> dict[str, Any]:
        """Without the room for more."""
        return {"_array": None if self._array is None else self._array[: self._rows], "_rows": self._rows}

    def append(self, array: NDArray[Any]) -> None:
        """Add ``(step, ...)`` of the steps that come next; the first decides on the dtype and the shape."""
        if self._array is None:
            self._array = np.empty((0, *array.shape[1:]), array.dtype)
        stop = self._rows + len(array)
        if stop > len(self._array) or not self._array.flags.writeable:
            self._resize(max(stop, len(self._array) + _more(self._array)))
        self._array[self._rows : stop] = array
        self._rows = stop

    def take_over(self, later: Self, rows: int) -> None:
        """Add what another one has kept of the steps that come next, and which gives it up.

        Args:
            later: the other one.
            rows: how many there will be in all, if that is known. Memory is taken for them once, and filled
                as they come.
        """
        if later._array is None:
            return
        array, later._array = later._array[: later._rows], None
        later._rows = 0
        if self._array is None:
            self._array = np.empty((0, *array.shape[1:]), array.dtype)
        if len(self._array) < rows:
            self._move(rows)
        self.append(array)

    def taken(self) -> NDArray[Any]:
        """``(step, ...)`` all of it, which is given up here.

        Raises:
            ValueError: nothing was kept.
        """
        if self._array is None:
            raise ValueError("nothing was kept")
        if self._array.flags.owndata:
            self._resize(self._rows)
        elif not self._array.flags.writeable:
            self._move(self._rows)
        found, self._array, self._rows = self._array[: self._rows], None, 0
        return found

    def _resize(self, rows: int) -> None:
        if self._array is None:
            return
        if self._array.flags.owndata:
            # Nobody else has this array: the pages of a large one are moved, and not copied.
            self._array.resize((rows, *self._array.shape[1:]), refcheck=False)
        else:
            # It lies in what came from another process.
            self._move(rows)

    def _move(self, rows: int) -> None:
        if self._array is not None:
            mine = _untouched((rows, *self._array.shape[1:]), self._array.dtype)
            mine[: self._rows] = self._array[: self._rows]
            self._array = mine


def _more(array: NDArray[Any]) -> int:
    """How many steps it grows by."""
    bytes_of_step = max(1, array[:1].nbytes)
    return max(min(len(array), _BYTES // bytes_of_step), len(array) // _SHARE)


def _untouched(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array whose memory is taken as it is filled, in the usual pages."""
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE:
        return np.empty(shape, dtype)
    # Elsewhere memory of its own is all that there is.
    of_its_own = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return np.frombuffer(mmap.mmap(-1, size, **of_its_own), dtype).reshape(shape)
