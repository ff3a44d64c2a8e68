"""What a framework says of a training, as plain JSON values: kept in the run, so that runs can be grouped."""

import enum
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import torch

# What a setting's name ends with, or is, where its value is nobody's business.
_SECRET: Final = ("token", "secret", "password", "api_key", "credentials")


def versions(**libraries: str) -> dict[str, str]:
    """Versions of Python, embevo, torch, and of other libraries."""
    return {
        "python": platform.python_version(),
        "embevo": version("embevo"),
        "torch": torch.__version__,
        **libraries,
    }


def plain(value: object) -> Any:
    """A value as JSON can hold it: enumerations by their value, what is neither number nor text as text."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(name): plain(held) for name, held in value.items() if not _is_secret(str(name))}
    if isinstance(value, list | tuple):
        return [plain(held) for held in value]
    if isinstance(value, set | frozenset):
        return sorted(str(held) for held in value)
    is_plain = (
        value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    )
    return value if is_plain else str(value)


def _is_secret(name: str) -> bool:
    return name.lower().endswith(_SECRET)
