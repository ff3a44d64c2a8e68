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

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole
from embevo.analysis.measures.outline import Outline

Kind = Literal["birth", "fission", "fusion", "emission", "capture", "death"]
KINDS: Final[tuple[Kind, ...]] = ("birth", "fission", "fusion", "emission", "capture", "death")
# Token ids that the list of events may hold; all events are counted, those after the list is full not listed.
_LISTED_TOKENS: Final = 1 << 20


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
        """The event as plain JSON values."""
        return asdict(self)


class Events(Measure):
    """All events of a run, counted, and listed as far as the list goes.

    Attributes:
        listed: the events in order, until one would bring the list over its number of token ids.
    """

    section = "Singularities"
    variables = (
        Variable("event", ("event",), "kind of event", "", "the kinds below", "the run"),
        Variable(
            "event_count",
            ("step", "event"),
            "events between the row before and this one",
            "events",
            "number of events of each kind between the row before and this one",
            "each row and the one before",
        ),
    )
    numbers = (
        Number("events", "events of black holes", "events"),
        Number("events_listed", "events in the list", "events"),
    )

    def __init__(self, outline: Outline, start: int = 0) -> None:
        super().__init__(outline, start)
        self.listed: list[Event] = []
        self._tokens = 0
        self._full = False

    def take(self, block: Block) -> None:
        """What happens at each row."""
        first = block.same[0] if block.before is None else block.before.same
        before = np.concatenate([first[None], block.same[:-1]])
        count = np.zeros((len(block.same), len(KINDS)), np.int64)
        for row in np.flatnonzero((before != block.same).any(axis=1)):
            for event in events_between(before[row], block.same[row], int(block.steps[row])):
                count[row, KINDS.index(event.kind)] += 1
                self._list(event)
        self.keep(event_count=count)

    def merge(self, later: Self) -> None:
        """Go on with the later list where this one is not full."""
        super().merge(later)
        for event in later.listed:
            self._list(event)
        self._full |= later._full

    def _list(self, event: Event) -> None:
        self._full |= self._tokens + len(event.tokens) > _LISTED_TOKENS
        if not self._full:
            self._tokens += len(event.tokens)
            self.listed.append(event)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The kinds of events, and how many of each there were at each step."""
        return {"event": np.array(KINDS, dtype=object), **super().finish(whole)}

    def tell(self) -> Mapping[str, Any]:
        """How many of each kind there were in all."""
        total = self.whole.arrays["event_count"].sum(axis=0).tolist()
        return {"events": dict(zip(KINDS, total, strict=True)), "events_listed": len(self.listed)}


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
