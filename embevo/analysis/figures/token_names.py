"""What a token, a run or a matrix is called in a figure."""

from typing import Final

from embevo.run.format.tokens import SPACE

# Control characters, and marks that cannot be told from each other, or from a point of the figure.
_SPOKEN: Final = {
    "x09": "tab",
    "x0a": "newline",
    "x0d": "return",
    "x20": "space",
    "x7f": "delete",
    ".": "period",
    ",": "comma",
    "'": "apostrophe",
    "`": "backtick",
    "-": "hyphen",
    "_": "underscore",
    ":": "colon",
    ";": "semicolon",
}
_LONGEST: Final = 14


def name_of(label: str) -> str:
    """A short name in characters that every font has: control characters and other scripts as escapes."""
    if label in _SPOKEN:
        return _SPOKEN[label]
    return short(label, _LONGEST)


def short(text: str, longest: int) -> str:
    """A text of at most so many characters, those that not every font has as escapes."""
    plain = "".join(
        c if 0x20 <= ord(c) < 0x7F or c == SPACE else c.encode("unicode_escape", "replace").decode("ascii")
        for c in text
    )
    return plain if len(plain) <= longest else plain[: longest - 2] + ".."
