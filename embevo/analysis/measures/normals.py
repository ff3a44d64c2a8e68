"""One sequence of random numbers that several simulations read, each from its first number on."""

from collections import deque
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.ziggurat import Ziggurat, as_numpy_draws

# So many are drawn at once.
_CHUNK: Final = 1 << 18


class Normals:
    """Standard normal numbers, float32: those of ``numpy.random.default_rng(seed).standard_normal``.

    Drawing takes longer than what simulations do with the numbers. Those that begin with the same seed draw
    the same ones, so that they are drawn once for all, as long as the readers go on side by side: a number is
    kept until every reader has taken it.
    """

    def __init__(self, seed: int, *, compiled: bool = False) -> None:
        """Begin.

        Args:
            seed: of the sequence.
            compiled: whether a compiled loop draws, which takes less time, and its loading a second.
        """
        if compiled and as_numpy_draws():
            self._fill = Ziggurat(seed).fill
        else:
            self._fill = partial(_fill, np.random.default_rng(seed))
        self._chunks: deque[NDArray[np.float32]] = deque()
        # The memory of one that was given up.
        self._free: list[NDArray[np.float32]] = []
        # Number in the sequence of the first one that is kept.
        self._first = 0
        self._readers: list[Reader] = []

    def reader(self) -> "Reader":
        """Someone who reads from the first number on; all there will be, before one of them has read."""
        reader = Reader(self)
        self._readers.append(reader)
        return reader

    @property
    def kept(self) -> int:
        """How many times as many numbers are kept as are drawn at once."""
        return len(self._chunks)

    def leave(self, reader: "Reader") -> None:
        """Keep nothing for this reader any more."""
        self._readers.remove(reader)
        self.forget()

    def take(self, start: int, found: NDArray[np.float32]) -> None:
        """Fill ``(number,)`` with the numbers from the ``start``-th on."""
        done = 0
        while done < len(found):
            chunk, place = divmod(start + done - self._first, _CHUNK)
            while chunk >= len(self._chunks):
                fresh = self._free.pop() if self._free else np.empty(_CHUNK, np.float32)
                self._fill(fresh)
                self._chunks.append(fresh)
            some = self._chunks[chunk][place : place + len(found) - done]
            found[done : done + len(some)] = some
            done += len(some)

    def forget(self) -> None:
        """Give up what all readers have taken."""
        least = min((reader.position for reader in self._readers), default=self._first)
        while self._chunks and least >= self._first + _CHUNK:
            self._free = [self._chunks.popleft()]
            self._first += _CHUNK


def _fill(rng: np.random.Generator, found: NDArray[np.float32]) -> None:
    rng.standard_normal(dtype=np.float32, out=found)


class Reader:
    """Reads a sequence of its own.

    Attributes:
        position: how many numbers it has taken.
    """

    def __init__(self, normals: Normals) -> None:
        self._normals = normals
        self.position = 0

    def draw(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The next numbers."""
        found = np.empty(shape, np.float32)
        self._normals.take(self.position, found.reshape(-1))
        self.position += found.size
        self._normals.forget()
        return found

    def close(self) -> None:
        """Read no more."""
        self._normals.leave(self)
