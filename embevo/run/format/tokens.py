"""Which token ids of a vocabulary occur in the corpus, what they are called, and which one a name means."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ArgumentError
from embevo.run.format.provenance import vocabulary_is_bytes
from embevo.run.format.token_names import TokenString

# A space that can be seen.
SPACE: Final = "\u2423"
_SEEN: Final = {" ": SPACE, "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_MOST_LISTED: Final = 8


@dataclass(frozen=True)
class Tokens:
    """What is known of the recorded tokens.

    Attributes:
        count: ``(token,)`` int64 occurrences in the corpus.
        recorded: ``(token,)`` int64 their ids, ascending; None where all of the vocabulary are recorded.
    """

    count: NDArray[np.int64]
    recorded: NDArray[np.int64] | None = None

    @property
    def ids(self) -> NDArray[np.int64]:
        """``(token,)`` the ids of the recorded tokens, ascending."""
        return np.arange(len(self.count), dtype=np.int64) if self.recorded is None else self.recorded

    @property
    def live(self) -> NDArray[np.int64]:
        """Ids of the recorded tokens that occur in the corpus, ascending."""
        return np.asarray(self.ids[self.count > 0], np.int64)

    @property
    def dead(self) -> NDArray[np.int64]:
        """Ids of the recorded tokens that never occur in the corpus, ascending."""
        return np.asarray(self.ids[self.count == 0], np.int64)


@dataclass(frozen=True, eq=False)
class TokenNames:
    """What the recorded tokens are called, and which of them a name means.

    Attributes:
        ids: ``(token,)`` int64 ids of the recorded tokens, ascending.
        strings: ``(token,)`` the text of each, its bytes where they are no text alone, None where it has no
            name; None where the run does not say what its tokens are.
        is_bytes: whether the run says that token id i is byte i.
    """

    ids: NDArray[np.int64]
    strings: tuple[TokenString, ...] | None
    is_bytes: bool = False

    @classmethod
    def of(
        cls, attributes: Mapping[str, Any], ids: NDArray[np.int64], strings: tuple[TokenString, ...] | None
    ) -> "TokenNames":
        """The names in a run of these attributes, that keeps these strings."""
        return cls(ids, strings, is_bytes=strings is None and vocabulary_is_bytes(attributes))

    @cached_property
    def labels(self) -> list[str]:
        """``(token,)`` a printable name of each token; its id where it has none."""
        if self.strings is None:
            return byte_labels(self.ids.tolist()) if self.is_bytes else [str(token) for token in self.ids]
        return [label_of(text, token) for token, text in zip(self.ids.tolist(), self.strings, strict=True)]

    @property
    def known(self) -> bool:
        """Whether the run says what its tokens are."""
        return self.strings is not None or self.is_bytes

    @cached_property
    def texts(self) -> list[str]:
        """``(token,)`` the text of each token; the label of one that has no text that a file could hold."""
        own = {token: text for text, tokens in self._by_text.items() for token in tokens}
        # A string in a netCDF file ends at its first NUL.
        return [
            own[token] if token in own and "\0" not in own[token] else label
            for token, label in zip(self.ids.tolist(), self.labels, strict=True)
        ]

    @cached_property
    def _by_text(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        texts: Iterable[TokenString] = self.strings or ()
        if self.is_bytes:
            texts = [chr(token) if token < 0x80 else None for token in self.ids.tolist()]
        for token, text in zip(self.ids.tolist(), texts, strict=False):
            if isinstance(text, str):
                found.setdefault(text, []).append(token)
        return found

    @cached_property
    def _by_label(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for token, label in zip(self.ids.tolist(), self.labels, strict=True):
            found.setdefault(label, []).append(token)
        return found

    def find(self, name: str) -> int:
        """The id of the token of this text, or else of this label.

        Raises:
            ArgumentError: no token has the name, or several have; with their ids.
        """
        found = (self._by_text.get(name) or self._by_label.get(name) or []) if self.known else []
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(map(str, found[:_MOST_LISTED])) + (
                ", ..." if len(found) > _MOST_LISTED else ""
            )
            raise ArgumentError(f"{name!r} is the name of {len(found)} tokens: give one of the ids {listed}")
        if not self.known:
            raise ArgumentError(
                f"{name!r} names a token by its text, and this run does not know what its tokens are: give "
                "ids, or name them with embevo annotate RUN --tokenizer tokenizer.json"
            )
        near = [near for near in (f" {name}", name.strip(), name.lower()) if near in self._by_text]
        hint = f"; there is {near[0]!r}, id {self._by_text[near[0]][0]}" if near else ""
        raise ArgumentError(f"no recorded token is called {name!r}{hint}")

    def matching(self, pattern: str) -> list[int]:
        """The ids of the tokens whose whole text matches a regular expression; ``re.error`` if it is none."""
        compiled = re.compile(pattern, re.DOTALL)
        return [token for text, ids in self._by_text.items() if compiled.fullmatch(text) for token in ids]

    def id_of(self, token: object) -> int:
        """The id that an id or a name stands for.

        Raises:
            ArgumentError: it is neither, or that of no recorded token.
        """
        if isinstance(token, str):
            return self.find(token)
        if isinstance(token, int | np.integer) and not isinstance(token, bool):
            place = int(np.searchsorted(self.ids, token))
            if place < len(self.ids) and self.ids[place] == token:
                return int(token)
            raise ArgumentError(f"token {token} is not recorded: run.frame.token_ids lists those that are")
        raise ArgumentError(f"{token!r} is a {type(token).__name__}; a token is given by its id or its text")


def label_of(text: TokenString, token: int) -> str:
    """A printable name: spaces can be seen, what cannot be printed and bytes are escapes.

    A text of digits is quoted, as it would be taken for an id; so is an empty one.
    """
    if text is None:
        return str(token)
    if isinstance(text, bytes):
        return "".join(f"\\x{byte:02x}" for byte in text)
    if not text or (text.isascii() and text.isdecimal()):
        return f'"{text}"'
    return "".join(_SEEN.get(c, c if c.isprintable() else _escaped(c)) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def byte_labels(ids: Iterable[int]) -> list[str]:
    """Names of bytes: the character, or the code where that cannot be seen, such as ``x0a``."""
    return [chr(token) if 0x20 < token < 0x7F else f"x{token:02x}" for token in ids]
