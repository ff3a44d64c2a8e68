"""One setting of an experiment: what is said of it, and whether a value can be its."""

import math
from typing import Any, Final, Literal, get_args, get_origin

from embevo.errors import ConfigError
from embevo.run.format.settings import Meaning


def about(
    text: str, minimum: float | None = None, meaning: Meaning = "numbers", *, kept: bool = True
) -> dict[str, Any]:
    """Metadata of a setting: its help, the smallest value that works, and what it means for the numbers.

    A setting that is not ``kept`` is left out of a run where it has its default, so that such a run is the
    same bytes as one from before the setting.
    """
    return {"help": text, "minimum": minimum, "meaning": meaning, "kept": kept}


_NAMES: Final = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def checked(name: str, value: Any, hint: Any) -> Any:
    """The value in the type of its setting; an int is taken for a float, nothing else is converted."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if type(value) is not type(choices[0]) or value not in choices:
            raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}.")
        return value
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise ConfigError(f"{name} is {value!r}; it must be {_NAMES[hint]}.")
    if hint is float and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; it must be finite.")
    return value
