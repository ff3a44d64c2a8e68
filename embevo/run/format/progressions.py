"""How many numbers several arithmetic series have together, without going through them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Self


@dataclass(frozen=True)
class Progression:
    """``first``, ``first + stride``, ... up to ``last``, which belongs to it; of at least one number."""

    first: int
    stride: int
    last: int

    @classmethod
    def within(cls, first: int, stride: int, low: int, high: int) -> Self | None:
        """What a series that begins at ``first`` has from ``low`` to ``high``; None if that is nothing."""
        first += max(0, -((first - low) // stride)) * stride
        return None if first > high else cls(first, stride, high - (high - first) % stride)

    def __contains__(self, number: object) -> bool:
        """Whether it has a number."""
        return (
            isinstance(number, int)
            and self.first <= number <= self.last
            and (number - self.first) % self.stride == 0
        )

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return (self.last - self.first) // self.stride + 1

    def has_all_of(self, other: "Progression") -> bool:
        """Whether it has each number of another."""
        return other.first in self and other.last in self and other.stride % self.stride == 0

    def common(self, other: "Progression") -> "Progression | None":
        """The numbers of both, which are a series again; None if there are none."""
        shared = gcd(self.stride, other.stride)
        apart, left_over = divmod(other.first - self.first, shared)
        if left_over:
            return None
        # Where both meet, by the Chinese remainder theorem: at first + stride * times.
        ratio = other.stride // shared
        times = apart * pow(self.stride // shared, -1, ratio) % ratio
        stride = self.stride * ratio
        meeting, low = self.first + self.stride * times, max(self.first, other.first)
        return Progression.within(meeting, stride, low, min(self.last, other.last))


def count_together(series: Iterable[Progression]) -> int:
    """How many different numbers some series have.

    Each brings what it has and those before it have not: its length, less what it has in common with them,
    which are series that are counted likewise. What two have in common gets rare quickly, so that these end
    early.
    """
    known = _without_parts(series)
    total = 0
    for place, one in enumerate(known):
        shared = (one.common(other) for other in known[:place])
        total += one.count - count_together(part for part in shared if part is not None)
    return total


def _without_parts(series: Iterable[Progression]) -> Sequence[Progression]:
    """Those that no other one contains."""
    kept: list[Progression] = []
    for one in sorted(set(series), key=lambda one: (one.stride, one.first, -one.last)):
        if not any(other.has_all_of(one) for other in kept):
            kept.append(one)
    return kept
