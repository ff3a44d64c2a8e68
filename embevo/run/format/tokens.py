"""Which token ids of a vocabulary occur in the corpus, and what to call them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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

    @property
    def labels(self) -> list[str]:
        """Printable names, for a byte vocabulary: the character, or its code in hexadecimal, as x0a."""
        return [chr(i) if 0x20 < i < 0x7F else f"x{i:02x}" for i in range(len(self.count))]
