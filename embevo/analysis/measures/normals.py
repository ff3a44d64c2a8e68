"""One sequence of random numbers that several simulations read, each from its first number on."""

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.ziggurat import Ziggurat, as_numpy_draws

#: Gives the next numbers, of a shape.
Draw = Callable[[tuple[int, ...]], NDArray[np.float32]]
# So many are drawn at once, and so many are in one array, which few readings go beyond.
_AT_ONCE: Final = 1 << 18
_CHUNK: Final = 1 << 24


class Normals:
    """Standard normal numbers, float32: those of ``numpy.random.default_rng(seed).standard_normal``.

    Drawing takes longer than what simulations do with the numbers. Those that begin with the same seed draw
    the same ones, so that they are drawn once for all, as long as the readers go on side by side: a number is
    kept until every reader has taken it.
    """

    def __init__(self, seed: int, *, compiled: bool = False, chunk: int = _CHUNK) -> None:
        """Begin.

        Args:
            seed: of the sequence.
            compiled: whether a compiled loop draws, which takes less time, and its loading a second.
            chunk: how many numbers are given up together.
        """
        self._fill = _filler(seed, compiled=compiled)
        self._chunk = chunk
        self._chunks: deque[NDArray[np.float32]] = deque()
        # Numbers in the sequence of the first one that is kept, and of the first that was not drawn.
        self._first = self._drawn = 0
        self._readers: list[Reader] = []

    def reader(self) -> "Reader":
        """Someone who reads from the first number on; all there will be, before one of them has read."""
        reader = Reader(self)
        self._readers.append(reader)
        return reader

    @property
    def kept(self) -> int:
        """How many arrays of numbers are kept."""
        return len(self._chunks)

    def leave(self, reader: "Reader") -> None:
        """Keep nothing for this reader any more."""
        self._readers.remove(reader)
        self.forget()

    def take(self, start: int, count: int) -> NDArray[np.float32]:
        """``(number,)`` so many from the ``start``-th on, which others read, too."""
        while self._drawn < start + count:
            self._draw()
        found, place = [], start - self._first
        while count:
            chunk, at = divmod(place, self._chunk)
            found.append(self._chunks[chunk][at : at + count])
            place, count = place + len(found[-1]), count - len(found[-1])
        some = found[0] if len(found) == 1 else np.concatenate([np.empty(0, np.float32), *found])
        some.flags.writeable = False
        return some

    def _draw(self) -> None:
        chunk, at = divmod(self._drawn - self._first, self._chunk)
        if chunk == len(self._chunks):
            self._chunks.append(np.empty(self._chunk, np.float32))
        some = self._chunks[chunk][at : at + _AT_ONCE]
        self._fill(some)
        self._drawn += len(some)

    def forget(self) -> None:
        """Give up what all readers have taken."""
        least = min((reader.position for reader in self._readers), default=self._first)
        while self._chunks and least >= self._first + self._chunk:
            self._chunks.popleft()
            self._first += self._chunk


def drawer(seed: int, *, compiled: bool = False) -> Draw:
    """What gives the next numbers of such a sequence, of a shape; ``compiled`` as in :class:`Normals`."""
    fill = _filler(seed, compiled=compiled)

    def draw(shape: tuple[int, ...]) -> NDArray[np.float32]:
        found = np.empty(math.prod(shape), np.float32)
        fill(found)
        return found.reshape(shape)

    return draw


def _filler(seed: int, *, compiled: bool) -> Callable[[NDArray[np.float32]], None]:
    if compiled and as_numpy_draws():
        return Ziggurat(seed).fill
    return partial(_fill, np.random.default_rng(seed))


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
        """The next numbers, which are not to be changed."""
        found = self._normals.take(self.position, math.prod(shape))
        self.position += found.size
        self._normals.forget()
        return found.reshape(shape)

    def close(self) -> None:
        """Read no more."""
        self._normals.leave(self)
