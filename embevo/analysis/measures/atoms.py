"""Points by the groups that they are in: what holds of a group follows from what holds of its atoms."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Atoms:
    """Points that are in the same groups are an atom.

    Attributes:
        order: of the points, in which atoms are contiguous.
        places: of each atom in it.
        of_groups: for each group the atoms that it is made of.
    """

    order: NDArray[np.int64]
    places: tuple[slice, ...]
    of_groups: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, groups: Sequence[NDArray[np.int64]]) -> "Atoms":
        """Of groups of points; every point is in one at least."""
        count = 1 + max((int(ids.max()) for ids in groups if len(ids)), default=-1)
        member = np.zeros((count, len(groups)), bool)
        for group, ids in enumerate(groups):
            member[ids, group] = True
        kinds, kind = np.unique(member, axis=0, return_inverse=True)
        order = np.argsort(kind, kind="stable")
        bounds = np.searchsorted(kind[order], np.arange(len(kinds) + 1)).tolist()
        places = tuple(slice(start, stop) for start, stop in pairwise(bounds))
        return cls(order, places, tuple(np.flatnonzero(kinds[:, group]) for group in range(len(groups))))

    @cached_property
    def in_order(self) -> bool:
        """Whether the points lie in that order as they are."""
        return bool((self.order[1:] > self.order[:-1]).all())
