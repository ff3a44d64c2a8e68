"""Attributes of a run as the JSON that they become: taken once, deeply, out of reach of later changes."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from embevo.errors import ArgumentError

# json reads as deep as Python's stack allows, which depends on who calls it; no configuration needs more.
_DEEPEST: Final = 100
# Attributes are written anew with every block, and the manifest has to hold them in a line.
_MOST_BYTES: Final = 8 << 20
_OWN: Final = "embevo"
_SHOWN: Final = 120


def plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the run will find, as new objects: str, int, float, bool, None, lists and dicts.

    Keys that are numbers, bools or None become the strings that JSON makes of them; tuples become lists;
    numpy scalars become the numbers that they are, exactly.

    Args:
        attributes: a mapping of mappings, lists, tuples, strings, numbers, bools and None.

    Raises:
        ArgumentError: a value has no JSON meaning (NaN and infinities have none), two keys of one mapping are
            the same in JSON, something contains itself, or there is too much of it; with the path of keys.
    """
    if not isinstance(attributes, Mapping):
        raise ArgumentError(
            f"attributes is a {_kind(attributes)}; it must be a mapping, such as {{'config': {{'lr': 0.1}}}}"
        )
    if _OWN in attributes:
        raise ArgumentError(
            f"attributes[{_OWN!r}] is where embevo keeps what it needs to read the run; leave it out, or "
            "choose another key"
        )
    taken = _mapping(attributes, "attributes", ())
    try:
        text = json.dumps(taken, allow_nan=False)
        size = len(text)
        plain: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"attributes are kept as JSON, and these cannot be: {error}") from error
    if size > _MOST_BYTES:
        raise ArgumentError(
            f"attributes take {size:,} bytes as JSON; at most {_MOST_BYTES:,} are kept in a run. Keep large "
            "things in a file beside it, and their name or checksum in the attributes."
        )
    return plain


def _plain(value: object, place: str, within: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | np.integer):
        return _whole(int(value), place)
    if isinstance(value, float | np.floating):
        number = float(value)
        if not math.isfinite(number):
            raise ArgumentError(f"{place}: JSON has no number for {number}; use None or a string")
        if number != value:
            raise ArgumentError(f"{place}: {value!r} is not a float64, and JSON readers would round it")
        return number
    if isinstance(value, Mapping | list | tuple):
        if id(value) in within:
            raise ArgumentError(f"{place}: the {_kind(value)} contains itself, which JSON cannot say")
        if len(within) == _DEEPEST:
            raise ArgumentError(f"{place[:_SHOWN]}...: attributes are nested more than {_DEEPEST} deep")
        if isinstance(value, Mapping):
            return _mapping(value, place, within)
        inside = (*within, id(value))
        return [_plain(item, f"{place}[{index}]", inside) for index, item in enumerate(value)]
    raise ArgumentError(f"{place}: {_kind(value)} is not JSON; give a string or a number in its place")


def _whole(value: int, place: str) -> int:
    try:
        str(value)
    except ValueError as error:
        raise ArgumentError(f"{place}: an integer of {value.bit_length():,} bits is too long") from error
    return value


def _mapping(value: Mapping[Any, Any], place: str, within: tuple[int, ...]) -> dict[str, Any]:
    inside = (*within, id(value))
    taken: dict[str, Any] = {}
    given: dict[str, object] = {}
    for key, item in value.items():
        name = _key(key, place)
        if name in taken:
            raise ArgumentError(
                f"{place}: the keys {given[name]!r} and {key!r} are both {name!r} in JSON; rename one"
            )
        given[name] = key
        taken[name] = _plain(item, f"{place}[{key!r}]", inside)
    return taken


def _key(key: object, place: str) -> str:
    plain = _plain(key, f"{place}, key {key!r}", ()) if not isinstance(key, Mapping | list | tuple) else key
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain)
    raise ArgumentError(f"{place}: the key {key!r} is a {_kind(key)}; keys are strings or numbers in JSON")


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
