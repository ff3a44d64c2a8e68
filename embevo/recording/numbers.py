"""Steps and scalars as training loops have them: numbers, tensors, numpy's scalars, lists of one."""

import math
import operator
from typing import Final, SupportsFloat, SupportsIndex, cast

import numpy as np
from torch import Tensor

from embevo.errors import ArgumentError

# Up to here a float64 and the numbers of JSON hold every step exactly.
LAST_STEP: Final = 2**53


def step_of(value: object) -> int:
    """A step by value, so that a counter may be changed in place afterwards.

    Args:
        value: an integer of any kind, a tensor or an array of one element, or a float that is whole.

    Raises:
        ArgumentError: it is none of these.
    """
    found = _plain(value)
    if isinstance(found, float) and found.is_integer() and abs(found) <= LAST_STEP:
        return int(found)
    if not isinstance(found, bool | np.bool_ | float):
        try:
            return operator.index(cast("SupportsIndex", found))
        except TypeError:
            pass
    raise ArgumentError(
        f"step is {shown(value)}; a step is a whole number from 0, the optimizer steps taken so far: "
        "capture(step), step an int"
    )


def refuse_step(step: int, last: int) -> ArgumentError:
    """What is wrong with a step that does not come after the last one, or is too large."""
    if step > LAST_STEP:
        return ArgumentError(f"step {step} is too large: steps go up to {LAST_STEP:,}")
    if step < 0:
        return ArgumentError(f"step {step} is negative: steps are captured in ascending order, from 0")
    return ArgumentError(
        f"step {step} after step {last}: steps are captured in ascending order, from 0. After a restart, "
        "begin with the step that the training goes on from."
    )


def number_of(value: object) -> float | None:
    """A scalar as float64: NaN for None, which says that there is none; None where it cannot be read.

    Args:
        value: a number, a tensor or an array of one element on any device, or a list of one of them.
    """
    if value is None:
        return math.nan
    found = _plain(value)
    if isinstance(found, list | tuple) and len(found) == 1:
        return number_of(found[0])
    if isinstance(found, str | bytes | bytearray):
        return None
    try:
        return float(cast("SupportsFloat", found))
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def shown(value: object) -> str:
    """The value for a message, in a line."""
    text = " ".join(repr(value).split())
    return f"{text[:77]}..." if len(text) > 80 else text


def _plain(value: object) -> object:
    """What a tensor or array of one element holds; anything else as it is."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        try:
            return value.item()
        except (RuntimeError, ValueError):
            return value
    return value
