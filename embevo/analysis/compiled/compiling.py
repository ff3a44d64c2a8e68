"""Functions of arrays as machine code, made by numba when they are first called."""

from collections.abc import Callable
from functools import cache, partial, wraps
from importlib import import_module
from pickle import PickleError
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar, cast

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
# Sums may be added in any order, eight numbers at a time; what is not a number stays that.
_ANY_ORDER: Final = {"reassoc", "contract", "nsz"}
# What reading and writing what is kept may raise; loops over numbers raise nothing.
_NOT_KEPT: Final = (OSError, EOFError, PickleError)
# Machine code is made by one thread at a time, and once.
_MAKING: Final = Lock()
# Fewer elements take less time than to load what was compiled, about a second.
_FEWEST: Final = 1 << 25


def pays(rows: int, elements: int) -> bool:
    """Whether compiled loops are there, and worth loading for so many rows of so many elements."""
    return rows * elements >= _FEWEST and installed()


@cache
def installed() -> bool:
    """Whether numba is, and goes with the numpy that is."""
    try:
        import_module("numba")
    except ImportError:
        return False
    return True


def compiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The same function as machine code, which lets other threads run meanwhile; sums are in any order.

    It is made for each combination of dtypes when it is first called with that, which takes seconds, and kept
    beside the package or in the user's cache directory for later processes, where that can be.
    """
    return _compiled(function, _ANY_ORDER)


def compiled_as_written(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """:func:`compiled`, with every operation rounded by itself and in the order in which it is written."""
    return _compiled(function, None)


def _compiled(
    function: Callable[_Arguments, _Result], freedom: set[str] | None
) -> Callable[_Arguments, _Result]:
    made: list[Callable[_Arguments, _Result]] = []

    @wraps(function)
    def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        if not made:
            with _MAKING:
                if not made:
                    made.append(_make(function, freedom))
        try:
            return made[0](*arguments, **named)
        except _NOT_KEPT:
            # Before it was run: a disk is full, or what lies there is damaged.
            with _MAKING:
                made[0] = _make(function, freedom, keep=False)
            return made[0](*arguments, **named)

    return call


def _make(
    function: Callable[_Arguments, _Result], freedom: set[str] | None, *, keep: bool = True
) -> Callable[_Arguments, _Result]:
    from numba import njit  # noqa: PLC0415 - it takes most of a second to import, and few need it

    make: Any = partial(njit, nogil=True, fastmath=freedom or False, error_model="numpy")
    try:
        made = make(cache=keep)(function)
    except RuntimeError:
        # Neither directory can be written.
        made = make()(function)
    return cast("Callable[_Arguments, _Result]", made)
