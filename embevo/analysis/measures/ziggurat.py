"""Standard normal numbers in float32: to the bit those that numpy draws, in a third of the time.

numpy makes them of random words of 32 bits by the ziggurat method (Marsaglia and Tsang, J. Stat. Softw. 5, 8,
2000): a word chooses one of 256 strips under the density and a place in it, and nearly always that place is
the number. That is done here by a compiled loop. What depends on how numpy rounds, the tail and what is too
close to the density to tell, is left to numpy.
"""

import math
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.normals import number_words

# Words that numbers are made of together.
_WORDS: Final = 1 << 15
# A number that begins so close to the last word waits for the words that follow.
_LONGEST: Final = 64
# Where the tail begins, with the 256 strips of numpy.
_TAIL: Final = 3.6541528853610087963519472518
# So many words tell one place in the sequence from the ones near it.
_TOLD_BY: Final = 4
# Words in the state of a Mersenne twister.
_STATE: Final = 624


@cache
def _strips() -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.float64], float]:
    """Of strips 0 to 255 and of their mirror images, 256 to 511: width, certain places, height of the edge.

    The width is that of one of 2^23 places, negative on the left; places below the second number are in the
    strip whatever their height. Heights are those of the density exp(-x^2 / 2), of the first 256. The last
    number is where the tail begins.
    """
    area = _TAIL * math.exp(-(_TAIL**2) / 2) + math.sqrt(math.pi / 2) * math.erfc(_TAIL / math.sqrt(2))
    edges = [_TAIL]
    for _ in range(254):
        edges.append(math.sqrt(-2 * math.log(area / edges[-1] + math.exp(-(edges[-1] ** 2) / 2))))
    edges.reverse()
    # The lowest strip is as wide as a box of its area would be, its tail included.
    widths = np.array([area / math.exp(-(_TAIL**2) / 2), *edges])
    certain = np.array([_TAIL / widths[0], 0, *(widths[1:-1] / widths[2:])])
    width = (widths / (1 << 23)).astype(np.float32)
    places = np.rint(certain * (1 << 23)).astype(np.uint32)
    heights = np.concatenate([[1.0], np.exp(-(widths[1:] ** 2) / 2)])
    return np.concatenate([width, -width]), np.tile(places, 2), heights, _TAIL


@cache
def as_numpy_draws() -> bool:
    """Whether the numpy that is installed draws by these strips, too, as others may not."""
    found = np.empty(1 << 16, np.float32)
    Ziggurat(0).fill(found)
    return found.tobytes() == np.random.default_rng(0).standard_normal(len(found), np.float32).tobytes()


class Ziggurat:
    """Draws the numbers of ``numpy.random.default_rng(seed).standard_normal(..., numpy.float32)`` in turn."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.PCG64(seed)
        # Words, the first of which no number was made yet, and how many were drawn before all of these.
        self._words = np.empty(_LONGEST + _WORDS, np.uint32)
        self._place = len(self._words)
        self._before = -len(self._words)
        # What is too close to tell is asked of this one, which has drawn so many words of 64 bits.
        self._bits = np.random.PCG64(seed)
        self._numpy = np.random.Generator(self._bits)
        self._drawn = 0
        # It hands out what its state holds, after a transformation that can be undone.
        self._twister = np.random.MT19937(0)
        self._fed = np.random.Generator(self._twister)

    def fill(self, found: NDArray[np.float32]) -> None:
        """Draw the next numbers, ``(number,)``."""
        # How many words and numbers are done, numbers of the tail that are not, and the words of these.
        done = np.zeros(4, np.int64)
        tail = np.empty(_STATE, np.int64), np.zeros(_STATE, np.uint32)
        clear = True
        while done[1] < len(found):
            if not clear:
                found[done[1]], taken = self._numpys(self._place)
                self._place += taken
                done[1] += 1
            if self._place >= _WORDS:
                self._draw()
            done[0] = self._place
            clear = number_words(self._words, _strips(), found, tail, done)
            self._place = int(done[0])
            if done[3] > _STATE // 2 or done[1] == len(found):
                found[tail[0][: done[2]]] = self._of(tail[1], int(done[2]))
                done[2:] = 0

    def _draw(self) -> None:
        """More words, after those that are left."""
        rest = self._words[self._place :].copy()
        self._place = _LONGEST - len(rest)
        self._words[self._place : _LONGEST] = rest
        fresh = self._source.random_raw(_WORDS // 2)
        self._words[_LONGEST:] = fresh.astype("<u8", copy=False).view("<u4")
        self._before += _WORDS

    def _of(self, words: NDArray[np.uint32], count: int) -> NDArray[np.float32]:
        """So many numbers, as numpy makes them of words: ``(_STATE,)``, of which it takes the first."""
        self._twister.state = {"bit_generator": "MT19937", "state": {"key": _untempered(words), "pos": 0}}
        return self._fed.standard_normal(count, np.float32)

    def _numpys(self, place: int) -> tuple[float, int]:
        """The number that numpy makes of the words from a place on, and how many it takes."""
        begin, odd = divmod(self._before + place, 2)
        rng = self._numpy
        self._bits.advance(begin - self._drawn)
        if odd:
            rng.random(dtype=np.float32)
        number = rng.standard_normal(dtype=np.float32)
        # What it reads next says where it is.
        following = (rng.random(_TOLD_BY, np.float32) * np.float32(1 << 24)).astype(np.uint32)
        near = self._words[place : place + _LONGEST] >> 8
        taken = next(
            count for count in range(len(near)) if np.array_equal(near[count : count + _TOLD_BY], following)
        )
        self._drawn = begin + (odd + taken + _TOLD_BY + 1) // 2
        return float(number), taken


def _untempered(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The state of the Mersenne twister that hands out these words (Matsumoto and Nishimura, 1998)."""
    found = np.empty_like(words)
    found[:] = words ^ (words >> 18)
    found ^= (found << 15) & np.uint32(0xEFC60000)
    # Seven bits become known at a time, and then eleven.
    below = np.copy(found)
    for _ in range(4):
        below[:] = found ^ ((below << 7) & np.uint32(0x9D2C5680))
    above = np.copy(below)
    for _ in range(2):
        above[:] = below ^ (above >> 11)
    return above
