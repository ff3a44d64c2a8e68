"""What becomes of black holes from one recorded step to the next: births, fissions, fusions and so on.

A token that is in no black hole is free. Between two consecutive rows,

    birth     a black hole none of whose tokens was in one before
    capture   free tokens that are now in a black hole together with tokens that came from one
    fusion    a black hole whose tokens come from two or more
    fission   a black hole whose tokens are now in two or more
    emission  tokens that left a black hole and are free, while others of it are still in one
    death     a black hole all of whose tokens are free now

A black hole that moves as a whole takes part in none of these. One may take part in several at once.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["birth", "fission", "fusion", "emission", "capture", "death"]
KINDS: Final[tuple[Kind, ...]] = ("birth", "fission", "fusion", "emission", "capture", "death")


@dataclass(frozen=True)
class Event:
    """One thing that happened to black holes.

    Attributes:
        step: global step of the row in which it is first seen.
        kind: of what happened.
        tokens: ids, ascending: the members for a birth, fission, fusion or death, those that left for an
            emission, those that came for a capture.
        before: sizes of the black holes that took part, as they were, largest first; free tokens not counted.
        after: sizes of those that came of it, largest first.
    """

    step: int
    kind: Kind
    tokens: list[int]
    before: list[int]
    after: list[int]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def events_between(before: NDArray[np.int64], after: NDArray[np.int64], step: int) -> Iterator[Event]:
    """The events between two rows, each ``(token,)`` representatives, in the order of :data:`KINDS`."""
    if np.array_equal(before, after):
        return
    was, now = _sizes(before), _sizes(after)
    was_in, now_in = was > 1, now > 1
    # Black holes are named by the smallest id in them; only those in which something changed are looked at.
    changed = before != after
    old = np.unique(before[was_in & _touched(before, changed)])
    new = np.unique(after[now_in & _touched(after, changed)])
    found: dict[Kind, list[Event]] = {kind: [] for kind in KINDS}
    for hole in new:
        members = np.flatnonzero(after == hole)
        parents = np.unique(before[members[was_in[members]]])
        free = members[~was_in[members]]
        size = [len(members)]
        if not len(parents):
            found["birth"].append(_event(step, "birth", members, [], size))
        elif len(free):
            found["capture"].append(_event(step, "capture", free, was[parents], size))
        if len(parents) > 1:
            found["fusion"].append(_event(step, "fusion", members, was[parents], size))
    for hole in old:
        members = np.flatnonzero(before == hole)
        children = np.unique(after[members[now_in[members]]])
        free = members[~now_in[members]]
        size = [len(members)]
        if not len(children):
            found["death"].append(_event(step, "death", members, size, []))
        elif len(free):
            found["emission"].append(_event(step, "emission", free, size, now[children]))
        if len(children) > 1:
            found["fission"].append(_event(step, "fission", members, size, now[children]))
    for kind in KINDS:
        yield from found[kind]


def _sizes(representatives: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(token,)`` how many tokens share the row of each."""
    return np.bincount(representatives, minlength=len(representatives))[representatives]


def _touched(representatives: NDArray[np.int64], changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``(token,)`` whether the set of tokens that a token is in has a token for which something changed."""
    touched = np.zeros(len(representatives), bool)
    touched[representatives[changed]] = True
    return touched[representatives]


def _event(step: int, kind: Kind, tokens: NDArray[np.int64], before: object, after: object) -> Event:
    return Event(step, kind, tokens.tolist(), _descending(before), _descending(after))


def _descending(sizes: object) -> list[int]:
    return sorted(np.asarray(sizes, np.int64).tolist(), reverse=True)
