"""The loss of a model that knows only how often each token occurs."""

import numpy as np
from numpy.typing import NDArray


def unigram_entropy(count: NDArray[np.int64]) -> float:
    """-sum p ln p over tokens, with p their share of the corpus, in nats, as the loss is; NaN if empty.

    C. E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27, 379, 1948.
    """
    share = count[count > 0] / max(int(count.sum()), 1)
    return float(-(share * np.log(share)).sum()) if len(share) else float("nan")
