"""What a token is called in a figure."""

from typing import Final

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
    plain = "".join(c if 0x20 <= ord(c) < 0x7F else c.encode("unicode_escape").decode("ascii") for c in label)
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 2] + ".."
