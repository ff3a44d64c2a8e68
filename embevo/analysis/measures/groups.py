"""The groups of tokens that measures are taken over: all of them, the live, the dead, the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.atoms import Atoms
from embevo.run.format.tokens import Tokens

GroupName = Literal["all", "live", "dead"]
# Those that every run has, in the order in which they come before the user's own.
GROUPS: Final[tuple[GroupName, ...]] = ("all", "live", "dead")


@dataclass(frozen=True)
class Groups:
    """Which rows of the matrix are in which group. Without token counts, live and dead are empty.

    Attributes:
        ids: for each of :attr:`names`, ascending rows: token ids where all of the vocabulary are recorded.
        known: whether the run says which tokens are live.
        own: names of the groups of the user's own.
    """

    ids: tuple[NDArray[np.int64], ...]
    known: bool
    own: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, count: int, tokens: Tokens | None, own: Mapping[str, NDArray[np.int64]] | None = None
    ) -> "Groups":
        """The groups among the rows of a matrix.

        Args:
            count: how many rows.
            tokens: how often the tokens of these rows occur; None if that is not known.
            own: the rows in each group of the user's own, ascending.
        """
        nobody = np.zeros(0, np.int64)
        everybody = np.arange(count, dtype=np.int64)
        live, dead = nobody, nobody
        if tokens is not None:
            live, dead = np.flatnonzero(tokens.count > 0), np.flatnonzero(tokens.count == 0)
        own = own or {}
        return cls((everybody, live, dead, *own.values()), tokens is not None, tuple(own))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all groups, in their order."""
        return (*GROUPS, *self.own)

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        return self.ids[self.names.index(name)]

    @cached_property
    def atoms(self) -> Atoms:
        """The rows by the groups that they are in."""
        return Atoms.of(self.ids)

    @cached_property
    def together(self) -> NDArray[np.int64]:
        """``(token,)`` the rows that are in any group, ascending."""
        return np.unique(np.concatenate(self.ids))

    def sampled(self, at_most: int) -> "Groups":
        """Every k-th row of each group, so that about ``at_most`` are left in all.

        A group of the user's own that is smaller than a share of that stays whole.
        """
        stride = -(-len(self.ids[0]) // at_most)
        if stride <= 1:
            return self
        live, dead = self.ids[1][::stride], self.ids[2][::stride]
        everybody = np.sort(np.concatenate([live, dead])) if self.known else self.ids[0][::stride]
        share = max(1, at_most // (4 * max(1, len(self.own))))
        own = [ids[:: max(1, -(-len(ids) // share))] for ids in self.ids[len(GROUPS) :]]
        return Groups((everybody, live, dead, *own), self.known, self.own)
