"""What reading fields out of JSON raises that was not made by embevo."""

from typing import Final

MALFORMED: Final = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)
