"""Functions of arrays as machine code, made by numba when they are first called."""

from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar, cast

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
# Sums may be added in any order, eight numbers at a time; what is not a number stays that.
_ANY_ORDER: Final = {"reassoc", "contract", "nsz"}
# Machine code is made by one thread at a time, and once.
_MAKING: Final = Lock()
# Fewer elements take less time than to load what was compiled, about a second.
_FEWEST: Final = 1 << 25


def pays(rows: int, elements: int) -> bool:
    """Whether compiled loops are there, and worth loading for so many rows of so many elements."""
    return rows * elements >= _FEWEST and installed()


@cache
def installed() -> bool:
    """Whether numba is."""
    return find_spec("numba") is not None


def compiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The same function as machine code, which lets other threads run meanwhile.

    It is made for each combination of dtypes when it is first called with that, which takes seconds, and kept
    beside the package or in the user's cache directory for later processes.
    """
    made: list[Callable[_Arguments, _Result]] = []

    @wraps(function)
    def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        if not made:
            with _MAKING:
                if not made:
                    made.append(_make(function))
        return made[0](*arguments, **named)

    return call


def _make(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    from numba import njit  # noqa: PLC0415 - it takes most of a second to import, and few need it

    make: Any = njit(nogil=True, cache=True, fastmath=_ANY_ORDER, error_model="numpy")
    return cast("Callable[_Arguments, _Result]", make(function))
