"""Which token ids of a vocabulary occur in the corpus, and what to call them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.provenance import vocabulary_is_bytes


@dataclass(frozen=True)
class Tokens:
    """What is known of the vocabulary.

    Attributes:
        count: ``(token,)`` int64 occurrences in the corpus.
    """

    count: NDArray[np.int64]

    @property
    def live(self) -> NDArray[np.int64]:
        """Ids that occur in the corpus, ascending."""
        return np.flatnonzero(self.count > 0)

    @property
    def dead(self) -> NDArray[np.int64]:
        """Ids that never occur in the corpus, ascending."""
        return np.flatnonzero(self.count == 0)


def token_labels(attributes: Mapping[str, Any], ids: Iterable[int]) -> list[str]:
    """Printable names of token ids: the ids themselves, except where the run says that they are bytes.

    A byte is called by its character, or by its code in hexadecimal where that cannot be seen: ``x0a``.

    Args:
        attributes: of the run's group, which say what the vocabulary is.
        ids: of the tokens.
    """
    if not vocabulary_is_bytes(attributes):
        return [str(token) for token in ids]
    return [chr(token) if 0x20 < token < 0x7F else f"x{token:02x}" for token in ids]
