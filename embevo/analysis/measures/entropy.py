"""The loss of a model that knows only how often each token occurs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def unigram_entropy(count: NDArray[np.int64]) -> float:
    """-sum p ln p over tokens, with p their share of the corpus, in nats, as the loss is; NaN if empty.

    C. E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27, 379, 1948.
    """
    share = count[count > 0] / max(int(count.sum()), 1)
    return float(-(share * np.log(share)).sum()) if len(share) else float("nan")


def unigram_loss(entropy: float, config: Mapping[str, Any]) -> float:
    """The entropy in the unit of the recorded loss, to be drawn beside it.

    The experiment, as the Trainer, divides the loss of an example by all its ``context`` labels, though the
    last position predicts nothing: there it is (context - 1) / context of the entropy.
    """
    context = config.get("context")
    if "objective" in config and isinstance(context, int) and context > 1:
        return entropy * (context - 1) / context
    return entropy
