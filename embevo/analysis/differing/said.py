"""Settings in which two recordings differ."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SettingDifference:
    """One setting that is not the same.

    Attributes:
        name: with those of what it is nested in: ``config.seed``.
        one: what the first says, as JSON; None if it says nothing.
        other: what the second says.
    """

    name: str
    one: str | None
    other: str | None


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[SettingDifference, ...]:
    """Those that the two say differently, or that only one says, by name."""
    flat, flat_other = dict(_flat(one, "")), dict(_flat(other, ""))
    return tuple(
        SettingDifference(name, flat.get(name), flat_other.get(name))
        for name in sorted(flat.keys() | flat_other.keys())
        if flat.get(name) != flat_other.get(name)
    )


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str, sort_keys=True)
