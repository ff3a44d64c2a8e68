"""Which steps a run records."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final, Self

from embevo.errors import ArgumentError
from embevo.run.format.progressions import Progression, count_together
from embevo.run.format.steps import from_ranges, to_ranges

# A step beyond every other: what follows the last one that a schedule has.
NEVER: Final = 2**63 - 1
# What a file says is the last step can be any number.
_MOST_LOOKED_AT: Final = 1 << 22


@dataclass(frozen=True)
class Schedule:
    """A set of steps: a union of arithmetic and logarithmic series and a list, between a start and a stop.

    Make one with :func:`every`, :func:`log_spaced`, :func:`dense_then` or :func:`at`; ``a | b`` has the steps
    of both, and ``between`` bounds it.

    Attributes:
        series: ``(first, stride)`` of series without an end, and ``(first, stride, last)`` of those with one.
        per_decade: of each logarithmic series, the number of steps in a decade; step 0 belongs to it.
        listed: single steps, ascending.
        start: no step before it.
        stop: no step from it on; None for no bound.
    """

    series: tuple[tuple[int, ...], ...] = ()
    per_decade: tuple[int, ...] = ()
    listed: tuple[int, ...] = ()
    start: int = 0
    stop: int | None = None

    @cached_property
    def _bound(self) -> int:
        return NEVER if self.stop is None else self.stop

    def has(self, step: int) -> bool:
        """Whether a step is recorded."""
        return self.after(step - 1) == step

    def after(self, step: int) -> int:
        """The first step after this one, or :data:`NEVER`."""
        step = max(step, self.start - 1)
        found = [_next_in_series(part, step) for part in self.series]
        found += [_next_in_decades(per, step) for per in self.per_decade]
        place = bisect_right(self.listed, step)
        found += self.listed[place : place + 1]
        following = min(found, default=NEVER)
        return following if following < self._bound else NEVER

    def count(self, last: int) -> int:
        """How many of its steps come up to ``last``, found without going through them."""
        low, high = self.start, min(last, self._bound - 1)
        whole = []
        for first, stride, *end in self.series:
            part = Progression.within(first, stride, low, min([high, *end]))
            whole += [] if part is None else [part]
        single = set(self.listed[bisect_left(self.listed, low) : bisect_right(self.listed, high)])
        for per in self.per_decade:
            single |= set(Schedule(per_decade=(per,), start=low).up_to(high))
        return count_together(whole) + sum(1 for step in single if not any(step in part for part in whole))

    @property
    def spacing(self) -> int:
        """The largest number that all distances between its steps are multiples of; 1 where there are none.

        Its bounds are not looked at. At a constant rate of steps, none is recorded sooner after another.
        """
        if self.per_decade:
            return 1
        places = [*(first for first, *_ in self.series), *self.listed]
        apart = math.gcd(*(place - places[0] for place in places))
        return math.gcd(apart, *(stride for _, stride, *_ in self.series)) or 1

    def up_to(self, last: int, first: int = 0) -> Iterator[int]:
        """The steps of the schedule from ``first`` up to ``last``, ascending."""
        step = self.after(first - 1)
        while step <= last:
            yield step
            step = self.after(step)

    def missing(self, have: Sequence[int], first: int, last: int) -> list[list[int]]:
        """What it has from ``first`` to ``last`` and ``have`` has not, as ``[[first, last, stride], ...]``.

        Of a schedule of millions of steps only the first that are missing are found.
        """
        there = set(have)
        steps = islice(self.up_to(last, first), _MOST_LOOKED_AT)
        return to_ranges(step for step in steps if step not in there)

    def between(self, start: int = 0, stop: int | None = None) -> "Schedule":
        """The steps of the schedule from ``start`` on, and before ``stop``."""
        start, stop = _step(start, "start"), None if stop is None else _step(stop, "stop")
        known = [bound for bound in (self.stop, stop) if bound is not None]
        return Schedule(
            self.series, self.per_decade, self.listed, max(self.start, start), min(known, default=None)
        )

    def __or__(self, other: "Schedule") -> "Schedule":
        """The steps of both."""
        if (self.start, self.stop) != (other.start, other.stop):
            raise ArgumentError(
                "schedules with other bounds cannot be joined: join them first, then use between()"
            )
        return Schedule(
            (*self.series, *other.series),
            (*self.per_decade, *other.per_decade),
            tuple(sorted({*self.listed, *other.listed})),
            self.start,
            self.stop,
        )

    def to_json(self) -> dict[str, Any]:
        """The schedule as plain JSON values."""
        return {
            "series": [list(part) for part in self.series],
            "per_decade": list(self.per_decade),
            "listed": to_ranges(self.listed),
            "start": self.start,
            "stop": self.stop,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(
            tuple(tuple(int(number) for number in part) for part in data["series"]),
            tuple(int(number) for number in data["per_decade"]),
            tuple(from_ranges(data["listed"])),
            int(data["start"]),
            None if data["stop"] is None else int(data["stop"]),
        )


def every(stride: int, first: int = 0) -> Schedule:
    """``first``, and every ``stride``-th step after it."""
    if type(stride) is not int or stride < 1:
        raise ArgumentError(f"steps are recorded every {stride!r}: a whole number of at least 1 is needed")
    return Schedule(series=((_step(first, "first"), stride),))


def log_spaced(per_decade: int = 10) -> Schedule:
    """Step 0, and ``per_decade`` steps from each power of ten to the next, even in their logarithm."""
    if type(per_decade) is not int or not 1 <= per_decade <= 1000:
        raise ArgumentError(f"{per_decade!r} steps in a decade: a whole number from 1 to 1000 is needed")
    return Schedule(per_decade=(per_decade,))


def dense_then(until: int, stride: int) -> Schedule:
    """Every step before ``until``, and from there on every ``stride``-th."""
    until = _step(until, "until")
    dense = Schedule(series=((0, 1, until - 1),)) if until else Schedule()
    return dense | every(stride, until)


def at(steps: Iterable[int]) -> Schedule:
    """A schedule of the given steps."""
    return Schedule(listed=tuple(sorted({_step(step, "a step") for step in steps})))


def schedule_of(steps: "int | Iterable[int] | Schedule | None") -> Schedule | None:
    """What ``steps=`` means: None for all, a number for every so many, steps for these, or a schedule.

    Raises:
        ArgumentError: it is none of these, or has no step.
    """
    if steps is None or isinstance(steps, Schedule):
        schedule = steps
    elif isinstance(steps, int) and not isinstance(steps, bool):
        schedule = every(steps)
    elif isinstance(steps, Iterable) and not isinstance(steps, (str, bytes)):
        schedule = at(steps)
    else:
        raise ArgumentError(
            f"steps is {steps!r}; give a number N for every N-th step, a list of steps, or a schedule such "
            "as embevo.log_spaced(10)"
        )
    if schedule is not None and schedule.after(-1) == NEVER:
        raise ArgumentError("the schedule has no step: nothing would be recorded")
    return schedule


def _step(step: int, what: str) -> int:
    try:
        value = int(step.__index__())
    except (AttributeError, TypeError) as error:
        raise ArgumentError(f"{what} is {step!r}; steps are whole numbers from 0 on") from error
    if isinstance(step, bool) or not 0 <= value < NEVER:
        raise ArgumentError(f"{what} is {step!r}; steps are whole numbers from 0 on")
    return value


def _next_in_series(part: tuple[int, ...], step: int) -> int:
    first, stride, *last = part
    following = first if step < first else first + ((step - first) // stride + 1) * stride
    return following if not last or following <= last[0] else NEVER


def _next_in_decades(per: int, step: int) -> int:
    if step < 0:
        return 0
    # Rounded members may coincide for the first decades: one is looked for until it lies after the step.
    exponent = 0 if step < 1 else max(0, math.floor(per * math.log10(step)) - 1)
    while (member := round(10 ** (exponent / per))) <= step:
        exponent += 1
    return min(member, NEVER)
