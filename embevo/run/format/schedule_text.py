"""Schedules of steps as they are written on a command line and in a configuration."""

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Final

from embevo.errors import ArgumentError
from embevo.run.format.schedule import Schedule, at, dense_then, every, log_spaced

_FORMS: Final = (
    "write every:10 (every tenth step), log:20 (twenty steps in a decade), dense:100,50 (every step before "
    "100, then every fiftieth), steps such as 0,1,10,100, or several of these joined by +"
)
# How each form is made, and of how many numbers.
_SERIES: Final[dict[str, tuple[Callable[..., Schedule], int]]] = {
    "every": (every, 1),
    "log": (log_spaced, 1),
    "dense": (dense_then, 2),
}


def parse_schedule(text: str) -> Schedule:
    """The steps of ``every:10``, ``log:20``, ``dense:100,50``, ``0,1,10,100``, or of several joined by ``+``.

    Raises:
        ArgumentError: a part is none of these, or has a number that it cannot have.
    """
    return reduce(or_, (_part(part.strip()) for part in text.split("+")))


def _part(text: str) -> Schedule:
    name, colon, rest = text.rpartition(":")
    words = [word.strip() for word in rest.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise ArgumentError(f"{text!r} is no schedule: {_FORMS}")
    numbers = [int(word) for word in words]
    if not colon:
        return at(numbers)
    make, count = _SERIES.get(name.strip(), (None, 0))
    if make is None or len(numbers) != count:
        raise ArgumentError(f"{text!r} is no schedule: {_FORMS}")
    return make(*numbers)
