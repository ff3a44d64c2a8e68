"""What is said of the tokens of a run beside their vectors: strings, counts and groups, and the file of it.

The bytes of ``tokens.json`` are made and read here; what is read is untrusted.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ArgumentError
from embevo.run.format.steps import count, from_ranges, to_ranges

# The text of a token, its bytes where they are no text alone, or None where it has no name.
TokenString = str | bytes | None
GROUP_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
# What every run has; a name of the user's own would hide them.
RESERVED: Final = frozenset({"all", "live", "dead"})
# Every group is measured, and drawn in a colour of its own.
MOST_GROUPS: Final = 12
# A vocabulary of a million tokens takes about 20 MB.
MOST_BYTES: Final = 1 << 28
_FORMAT: Final = 1
_MOST: Final = 2**63


@dataclass(frozen=True, eq=False)
class Annotations:
    """What is said of the recorded tokens, in the order of their ids.

    Attributes:
        strings: ``(token,)`` the string of each; None if no strings are known.
        token_count: ``(token,)`` int64 occurrences in a corpus; None if nothing was counted, or if it is what
            the Zarr group says.
        groups: name to the ascending int64 ids of the tokens in it.
    """

    strings: tuple[TokenString, ...] | None = None
    token_count: NDArray[np.int64] | None = None
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return self.strings is None and self.token_count is None and not self.groups

    def replaced_by(self, other: "Annotations") -> "Annotations":
        """These names, but for the parts that another has; groups are replaced by name."""
        return Annotations(
            self.strings if other.strings is None else other.strings,
            self.token_count if other.token_count is None else other.token_count,
            {**self.groups, **other.groups},
        )

    def pack(self) -> bytes:
        """The bytes of the file; the same for the same annotations."""
        parts: dict[str, Any] = {"format": _FORMAT}
        if self.strings is not None:
            parts["strings"] = [
                {"hex": text.hex()} if isinstance(text, bytes) else text for text in self.strings
            ]
        if self.token_count is not None:
            parts["token_count"] = self.token_count.tolist()
        if self.groups:
            parts["groups"] = {name: to_ranges(ids.tolist()) for name, ids in self.groups.items()}
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in parts.items()]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    @classmethod
    def parse(cls, data: bytes, ids: NDArray[np.int64]) -> "Annotations":
        """The inverse of :meth:`pack`, for a run that records the tokens ``ids``.

        Raises:
            ValueError: it is not what embevo writes for these tokens.
        """
        parts = json.loads(data)
        if not isinstance(parts, dict) or parts.get("format") != _FORMAT:
            raise ValueError("it is not in the format that this embevo reads")
        if not parts.keys() <= {"format", "strings", "token_count", "groups"}:
            raise ValueError(f"it has the parts {sorted(parts)}")
        counts = parts.get("token_count")
        if counts is not None:
            counts = _checked_counts(counts, len(ids))
        groups = parts.get("groups", {})
        if not isinstance(groups, dict) or len(groups) > MOST_GROUPS:
            raise ValueError("its groups are not those of a run")
        return cls(
            _checked_strings(parts["strings"], len(ids)) if "strings" in parts else None,
            counts,
            {name: _checked_group(name, ranges, ids) for name, ranges in groups.items()},
        )


def _checked_strings(strings: object, tokens: int) -> tuple[TokenString, ...]:
    if not isinstance(strings, list) or len(strings) != tokens:
        raise ValueError(f"it does not have {tokens} strings")
    return tuple(_checked_string(text) for text in strings)


def _checked_string(text: object) -> TokenString:
    if text is None or isinstance(text, str):
        return text
    if isinstance(text, dict) and text.keys() == {"hex"} and isinstance(text["hex"], str):
        return bytes.fromhex(text["hex"])
    raise ValueError(f"{text!r} is not the string of a token")


def _checked_counts(counts: object, tokens: int) -> NDArray[np.int64]:
    if not isinstance(counts, list) or len(counts) != tokens or not all(map(_is_size, counts)):
        raise ValueError(f"it does not have {tokens} counts")
    return np.array(counts, np.int64)


def _checked_group(name: str, ranges: object, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    if not GROUP_NAME.fullmatch(name) or name in RESERVED or not isinstance(ranges, list):
        raise ValueError(f"{name!r} is not a group")
    last = -1
    for part in ranges:
        if not isinstance(part, list) or len(part) != 3 or not all(map(_is_size, part)):
            raise ValueError(f"the group {name} has the range {part!r}")
        first, end, stride = part
        if not last < first <= end or stride < 1 or (end - first) % stride:
            raise ValueError(f"the group {name} has the range {part!r}")
        last = end
    # Before as many ids are made as an untrusted range claims that there are.
    if count(ranges) > len(ids):
        raise ValueError(f"the group {name} has more tokens than there are")
    found = np.array(from_ranges(ranges), np.int64)
    if not np.isin(found, ids).all():
        raise ValueError(f"the group {name} has tokens that are not recorded")
    return found


def _is_size(value: object) -> bool:
    # bool is an int to Python, not to JSON.
    return type(value) is int and 0 <= value < _MOST


def strings_for(given: Sequence[object], ids: NDArray[np.int64]) -> tuple[TokenString, ...]:
    """The strings of the tokens ``ids``, from those of the vocabulary in the order of ids.

    Rows past the last string, such as those that pad a vocabulary, have no name; strings past the last row
    belong to no row and are left out.

    Raises:
        ArgumentError: one is neither a string, nor bytes, nor None.
    """
    return tuple(_string(given[token]) if token < len(given) else None for token in ids.tolist())


def _string(text: object) -> TokenString:
    if text is None:
        return None
    if isinstance(text, bytes | bytearray):
        try:
            return bytes(text).decode()
        except UnicodeDecodeError:
            return bytes(text)
    if not isinstance(text, str):
        raise ArgumentError(f"{text!r} is a {type(text).__name__}; the name of a token is a string or bytes")
    try:
        text.encode()
    except UnicodeEncodeError:
        # Halves of a surrogate pair, which are no text alone.
        return text.encode("utf-8", "surrogatepass")
    return str.__str__(text)


def group_of(name: object, given: object, ids: NDArray[np.int64], vocabulary: int) -> NDArray[np.int64]:
    """The recorded tokens of a group, ascending.

    Args:
        name: of the group.
        given: token ids in any order, or a mask over the vocabulary.
        ids: of the recorded tokens.
        vocabulary: how many tokens there are.

    Raises:
        ArgumentError: the name cannot be that of a group, or the tokens are none of the vocabulary.
    """
    if not isinstance(name, str) or not GROUP_NAME.fullmatch(name) or name in RESERVED:
        raise ArgumentError(
            f"{name!r} cannot be the name of a group: it begins with a letter, has at most 32 letters, "
            f"digits, _ and -, and is none of {', '.join(sorted(RESERVED))}"
        )
    values = np.asarray(given if hasattr(given, "__array__") else _listed(name, given))
    if values.ndim == 1 and values.dtype == bool:
        if len(values) != vocabulary:
            raise ArgumentError(
                f"the mask of the group {name} has {len(values)} entries; the vocabulary has {vocabulary}"
            )
        values = np.flatnonzero(values)
    if values.ndim != 1 or (values.size and not np.issubdtype(values.dtype, np.integer)):
        raise ArgumentError(f"the group {name} is neither token ids nor a mask over the vocabulary")
    outside = [token for token in values.tolist() if not 0 <= token < vocabulary]
    if outside:
        raise ArgumentError(
            f"the group {name} has the token {outside[0]}; the vocabulary has the ids 0 to {vocabulary - 1}"
        )
    found: NDArray[np.int64] = np.intersect1d(values.astype(np.int64), ids)
    if not found.size:
        raise ArgumentError(f"the group {name} has no token that is recorded")
    return found


def _listed(name: str, given: object) -> list[Any]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ArgumentError(f"the group {name} is {given!r}; give token ids, or a mask over the vocabulary")
    return list(given)


def groups_for(given: object, ids: NDArray[np.int64], vocabulary: int) -> dict[str, NDArray[np.int64]]:
    """The groups of the recorded tokens; see :func:`group_of`.

    Raises:
        ArgumentError: it is not a mapping, one of them is none, or there are too many.
    """
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f"groups is a {type(given).__name__}; it must be a mapping, such as {{'digits': [15, 16, 17]}}"
        )
    if len(given) > MOST_GROUPS:
        raise ArgumentError(f"there are {len(given)} groups; a run has at most {MOST_GROUPS}")
    return {str(name): group_of(name, tokens, ids, vocabulary) for name, tokens in given.items()}
