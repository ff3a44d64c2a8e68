"""Which rows of the vocabulary a run records, where it does not record all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embevo.errors import FrameMismatchError
from embevo.run.format.steps import count, from_ranges, to_ranges


@dataclass(frozen=True)
class TokenSubset:
    """Some token ids of a vocabulary, ascending.

    Attributes:
        vocabulary: how many tokens there are in all.
        ranges: the ids, as ``(first, last, stride)``.
    """

    vocabulary: int
    ranges: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, ids: Iterable[int], vocabulary: int) -> Self:
        """The subset of these ids.

        Raises:
            FrameMismatchError: there are none, they do not ascend, or one is not in the vocabulary.
        """
        listed = [int(token) for token in ids]
        if (
            not listed
            or any(a >= b for a, b in pairwise(listed))
            or listed[0] < 0
            or listed[-1] >= vocabulary
        ):
            raise FrameMismatchError(
                f"{len(listed)} token ids from {listed[:1]} to {listed[-1:]}: give at least one, ascending, "
                f"each once, of the vocabulary's 0 to {vocabulary - 1}"
            )
        return cls(vocabulary, tuple((a, b, c) for a, b, c in to_ranges(listed)))

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """``(token,)`` the ids."""
        return np.array(from_ranges(self.ranges), np.int64)

    @property
    def all_or_some(self) -> "TokenSubset | None":
        """None where it is all of the vocabulary, as frames have it; else itself."""
        return None if len(self) == self.vocabulary else self

    def __len__(self) -> int:
        return count(self.ranges)

    def to_json(self) -> dict[str, Any]:
        """The subset as plain JSON values."""
        return {"vocabulary": self.vocabulary, "ids": [list(part) for part in self.ranges]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`; checked, as untrusted files are."""
        vocabulary = int(data["vocabulary"])
        ranges = [(int(first), int(last), int(stride)) for first, last, stride in data["ids"]]
        before = -1
        for first, last, stride in ranges:
            if not before < first <= last < vocabulary or stride < 1 or (last - first) % stride:
                raise FrameMismatchError(f"the token ids have the range {[first, last, stride]}")
            before = last
        if not ranges:
            raise FrameMismatchError("the run records no token")
        return cls(vocabulary, tuple(ranges))
