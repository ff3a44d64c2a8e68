"""Which tokens the experiment records, as the setting ``tokens`` says it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ArgumentError, ConfigError
from embevo.run.format.token_subset import TokenSubset
from embevo.run.format.token_text import parse_tokens

ALL_TOKENS: Final = "all"
_BY_COUNT: Final = ("dead", "live")


def check_tokens(text: str, vocabulary: int) -> None:
    """Raise ConfigError unless the text names tokens of a vocabulary of so many."""
    if text == ALL_TOKENS:
        return
    try:
        ids = parse_tokens([part for part in text.split(",") if part not in _BY_COUNT]).ids
    except ArgumentError as error:
        raise ConfigError(f"tokens is {text!r}: {error}; or all, dead, live") from error
    if ids and ids[-1] >= vocabulary:
        raise ConfigError(
            f"tokens is {text!r}; the vocabulary has the ids 0 to {vocabulary - 1}, and not {ids[-1]}."
        )


def chosen_tokens(text: str, token_count: NDArray[np.int64]) -> TokenSubset | None:
    """The tokens that a checked text names; None for all.

    Args:
        text: the setting.
        token_count: ``(token,)`` occurrences of each token of the vocabulary in the corpus.

    Raises:
        ConfigError: it names none, since no token is dead.
    """
    if text == ALL_TOKENS:
        return None
    parts = text.split(",")
    chosen = set(parse_tokens([part for part in parts if part not in _BY_COUNT]).ids)
    if "dead" in parts:
        chosen.update(np.flatnonzero(token_count == 0).tolist())
    if "live" in parts:
        chosen.update(np.flatnonzero(token_count > 0).tolist())
    if not chosen:
        raise ConfigError(f"tokens is {text!r}, and the corpus has no such token: nothing would be recorded.")
    return TokenSubset.of(sorted(chosen), len(token_count))
