"""Memory for the files of a block that is used again for the next, as fresh memory costs more than copying.

The kernel hands out pages one by one and clears each: for a block that is stored as it is, that took longer
than laying its values there and checksumming them together.
"""

import mmap
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PAGE: Final = mmap.PAGESIZE


class Room:
    """Buffers in the order in which a block asks for them; blocks of one run ask for the same ones."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: list[NDArray[np.uint8]] = []
        self._taken = 0

    def clear(self) -> None:
        """All that was taken may be overwritten from here on."""
        self._taken = 0

    def take(self, size: int) -> NDArray[np.uint8]:
        """So many bytes ``(byte,)`` that begin at a page, of whatever they held before."""
        if self._taken == len(self._held):
            self._held.append(np.empty(0, np.uint8))
        if self._held[self._taken].size < size:
            # Of a mapping of its own, because those begin at a page.
            whole = mmap.mmap(-1, max(-(-size // _PAGE), 1) * _PAGE)
            self._held[self._taken] = np.frombuffer(whole, np.uint8)
        buffer = self._held[self._taken][:size]
        self._taken += 1
        return buffer
