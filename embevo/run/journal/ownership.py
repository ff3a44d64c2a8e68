"""Whether a journal is the one of a run: it names the run by a checksum of the run's attributes."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from embevo.errors import DamagedError
from embevo.run.disk.checksum import checksum
from embevo.run.format.layout import Layout, identity
from embevo.run.format.steps import describe
from embevo.run.journal.ring import Journal

# Of mappings whose order is doubtful; each doubles the ways in which the attributes can have been spelled.
_MOST_DOUBTFUL: Final = 8


def check_journal(journal: Journal, layout: Layout, *earlier: Mapping[str, Any]) -> None:
    """Raise DamagedError unless a journal is the run's own and has a ring of at most two blocks.

    Args:
        journal: found beside the run.
        layout: of the run.
        earlier: attributes that the run has had before, where they were changed while it was recorded.
    """
    if not _is_named(journal.run, layout, earlier):
        raise _foreign(journal, "another run, one with other attributes")
    if journal.frame != layout.frame or journal.slots > 2 * layout.block_steps:
        raise _foreign(
            journal,
            f"another run, one that records {journal.frame.to_json()} in {journal.slots} slots, where the "
            f"group beside it has blocks of {layout.block_steps} steps of {layout.frame.to_json()}",
        )


def _foreign(journal: Journal, of: str) -> DamagedError:
    steps = journal.steps()
    held = (
        f"It holds {len(steps)} steps of that run ({describe(steps)}): move it back beside the manifest of "
        "that run and run embevo recover there, which seals them"
        if steps
        else "It holds no steps: nothing is lost when it is moved away"
    )
    return DamagedError(
        f"{journal.path} belongs to {of}. Nothing was changed. {held}. Without it, what is sealed of the run "
        f"in {journal.path.parent} can be opened."
    )


def _is_named(name: str, layout: Layout, earlier: tuple[Mapping[str, Any], ...]) -> bool:
    if name in {"", identity(layout)}:
        return True
    return any(name in _spellings(attributes) for attributes in (layout.attributes, *earlier))


def _spellings(attributes: Mapping[str, Any]) -> Iterator[str]:
    """Every name that embevo 0.1 may have given a run of these attributes.

    It sorted the keys as they were given, and numbers sort otherwise than the strings that JSON makes of
    them: 2 before 10, "10" before "2". Which keys were numbers cannot be seen any more.
    """
    doubtful: list[int] = []
    _ordered(attributes, doubtful, frozenset())
    for choice in itertools.product((True, False), repeat=min(len(doubtful), _MOST_DOUBTFUL)):
        by_number = frozenset(itertools.compress(doubtful, choice))
        text = json.dumps(_ordered(attributes, [], by_number))
        yield f"{checksum(text.encode()):016x}"


def _ordered(value: Any, doubtful: list[int], by_number: frozenset[int]) -> Any:
    """The value with sorted keys; those of the mappings chosen (by their ``id``) sorted as numbers."""
    if isinstance(value, Mapping):
        keys = sorted(value)
        numbers = _as_numbers(keys)
        if numbers is not None and sorted(keys, key=numbers.__getitem__) != keys:
            doubtful.append(id(value))
            if id(value) in by_number:
                keys = sorted(keys, key=numbers.__getitem__)
        return {key: _ordered(value[key], doubtful, by_number) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item, doubtful, by_number) for item in value]
    return value


def _as_numbers(keys: list[str]) -> dict[str, float] | None:
    """What the keys were, if they were all numbers or bools."""
    try:
        numbers = {key: json.loads(key) for key in keys}
    except (ValueError, RecursionError):
        return None
    return numbers if all(isinstance(number, int | float) for number in numbers.values()) else None
