"""The groups of tokens that every measure is taken over: all of them, the live and the dead."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.tokens import Tokens

GroupName = Literal["all", "live", "dead"]
GROUPS: Final[tuple[GroupName, ...]] = ("all", "live", "dead")


@dataclass(frozen=True)
class Groups:
    """Which token ids are in which group. Without token counts, live and dead are empty.

    Attributes:
        ids: for each of :data:`GROUPS`, ascending ids.
        known: whether the run says which tokens are live.
    """

    ids: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    known: bool

    @classmethod
    def of(cls, count: int, tokens: Tokens | None) -> "Groups":
        """The groups among ``count`` token ids."""
        nobody = np.zeros(0, np.int64)
        everybody = np.arange(count, dtype=np.int64)
        if tokens is None:
            return cls((everybody, nobody, nobody), known=False)
        return cls((everybody, tokens.live, tokens.dead), known=True)

    def __getitem__(self, name: GroupName) -> NDArray[np.int64]:
        return self.ids[GROUPS.index(name)]

    def sampled(self, at_most: int) -> "Groups":
        """Every k-th id of the live and of the dead, so that about ``at_most`` are left."""
        stride = -(-len(self.ids[0]) // at_most)
        if stride == 1:
            return self
        live, dead = self.ids[1][::stride], self.ids[2][::stride]
        everybody = np.sort(np.concatenate([live, dead])) if self.known else self.ids[0][::stride]
        return Groups((everybody, live, dead), self.known)
