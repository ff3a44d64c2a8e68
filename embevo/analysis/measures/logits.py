"""How sure is the model? Entropy and inequality of its mean logits, where these were recorded."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Variable, Whole
from embevo.analysis.measures.outline import Outline


class Logits(Measure):
    """Entropy and Gini coefficient of the probabilities that the recorded logits stand for."""

    section = "Training"
    variables = (
        Variable(
            "logit_entropy",
            ("measured_step",),
            "entropy of the mean logits' softmax",
            "nats",
            "-sum p ln p, p = softmax of the recorded `logits`, which are means over a batch (Shannon, "
            "1948): ln of the number of tokens where none is preferred. It is not the mean entropy of "
            "predictions, which single contexts make smaller",
            "the run",
        ),
        Variable(
            "logit_gini",
            ("measured_step",),
            "inequality of the mean logits' softmax (Gini)",
            "1",
            "sum (2 i - n - 1) p(i) / (n sum p), p in ascending order: 0 where all n tokens have the same "
            "probability, (n - 1) / n where one has all (Gini, 1912; Hurley and Rickard, IEEE Trans. Inf. "
            "Theory 55, 4723, 2009)",
            "the run",
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """They were recorded."""
        return outline.logits is not None

    def take(self, block: Block) -> None:
        """The logits are known before."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """Entropy and inequality at each measured step."""
        rows = np.zeros((0, 0)) if self.outline.logits is None else self.outline.logits
        shares = [softmax(row.astype(np.float64)) for row in rows]
        return {
            **super().finish(whole),
            "logit_entropy": np.array([entropy(share) for share in shares]),
            "logit_gini": np.array([gini(share) for share in shares]),
        }


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities in proportion to the exponentials; NaN where one is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum(), np.float64)


def entropy(share: NDArray[np.float64]) -> float:
    """-sum p ln p, in nats; 0 ln 0 is 0."""
    known = share[share != 0]
    return float(-(known * np.log(known)).sum())


def gini(share: NDArray[np.float64]) -> float:
    """Half of the mean difference between two of them over their mean."""
    count = len(share)
    weights = 2 * np.arange(1, count + 1) - count - 1
    return float((weights * np.sort(share)).sum() / (count * share.sum()))
