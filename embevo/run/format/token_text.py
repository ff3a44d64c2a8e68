"""Tokens as they are written on a command line and in a configuration: ids, characters, ranges of either."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from embevo.errors import ArgumentError
from embevo.run.format.tokens import TokenNames

# Beyond any vocabulary: a range that was mistyped must not fill the memory.
_MAX_TOKENS: Final = 1 << 24


@dataclass(frozen=True)
class WrittenTokens:
    """Tokens as they were written.

    Attributes:
        ids: of the tokens, ascending, each once.
        characters: the parts that name tokens by characters, as they were written.
    """

    ids: tuple[int, ...]
    characters: tuple[str, ...]


def split_tokens(text: str) -> list[str]:
    """The parts between commas; a part in double quotes may have commas in it, and keeps its quotes.

    A double quote in a quoted part is written twice.
    """
    return re.findall(r'(?:^|,)((?:"(?:[^"]|"")*"(?=,|$))|[^,]*)', text, re.DOTALL)


def tokens_named(parts: Sequence[str], names: TokenNames) -> list[int]:
    """The ids that parts stand for in a run that knows what its tokens are, ascending, each once.

    A part is an id, a range of ids, or the text or label of a token; of digits alone, or with a comma in it,
    a text is written in double quotes.

    Raises:
        ArgumentError: a part is none of these, or the name of several tokens.
    """
    chosen: set[int] = set()
    for part in parts:
        if re.fullmatch(r"\d+(-\d+)?", part, re.ASCII):
            chosen.update(parse_tokens([part]).ids)
        elif len(part) > 1 and part[0] == part[-1] == '"':
            chosen.add(names.find(part[1:-1].replace('""', '"')))
        else:
            chosen.add(names.find(part))
    return sorted(chosen)


def parse_tokens(parts: Sequence[str]) -> WrittenTokens:
    """Ids, single ASCII characters, and ranges of either, such as ``0-31``, ``65`` and ``a-z``.

    A digit is an id; any other single character, a hyphen included, stands for its code.

    Raises:
        ArgumentError: a part is neither, ends before it begins, or goes beyond any vocabulary.
    """
    chosen: set[int] = set()
    characters = []
    for part in parts:
        match = re.fullmatch(r"(\d+|\D)(?:-(\d+|\D))?", part, re.DOTALL | re.ASCII)
        if match is None or not part.isascii():
            raise ArgumentError(
                f"{part!r} is not a token: write ids, single ASCII characters, or ranges of either, such as "
                "0-31,65,a-z; a digit or a comma as a character is written by its id"
            )
        first = _token(match[1])
        last = _token(match[2]) if match[2] else first
        if last < first:
            raise ArgumentError(f"{part!r} ends before it begins")
        if last >= _MAX_TOKENS:
            raise ArgumentError(f"{part!r} goes beyond any vocabulary")
        chosen.update(range(first, last + 1))
        if not all(end.isdecimal() for end in match.groups() if end):
            characters.append(part)
    return WrittenTokens(tuple(sorted(chosen)), tuple(characters))


def _token(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else ord(text)
