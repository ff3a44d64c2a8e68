"""What was recorded of the training beside the matrix, as it was recorded."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.entropy import unigram_entropy
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole


class Training(Measure):
    """Loss, learning rate and token counts."""

    section = "Training"
    variables = (
        Variable("loss", ("step",), "training loss", "nats", "as recorded", "the run"),
        Variable("learning_rate", ("step",), "learning rate", "1", "as recorded", "the run"),
        Variable("token_count", ("token",), "occurrences in the corpus", "tokens", "as recorded", "the run"),
    )
    numbers = (
        Number("unigram_entropy", "unigram entropy of the corpus", "nats"),
        Number("unigram_loss", "loss of a model that knows frequencies only", "nats"),
        Number("loss_first", "first loss", "nats"),
        Number("loss_last", "last loss", "nats"),
    )

    def take(self, block: Block) -> None:
        """Nothing of a row's values is needed."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The scalars and token counts that were recorded."""
        names = ("loss", "learning_rate")
        found = dict(super().finish(whole))
        found |= {name: self.outline.scalars[name] for name in names if name in self.outline.scalars}
        if self.outline.token_count is not None:
            found["token_count"] = self.outline.token_count
        return found

    def tell(self) -> Mapping[str, Any]:
        """First and last loss, and what a model reaches that knows how often tokens occur."""
        # Of some of the tokens the shares are not those of the corpus.
        count = self.outline.token_count if self.outline.token_ids is None else None
        entropy = None if count is None else unigram_entropy(count)
        loss = self.outline.scalars.get("loss", np.zeros(0))
        labels = self.outline.loss_labels
        known = loss[np.isfinite(loss)]
        return {
            "unigram_entropy": entropy,
            # The loss of an example may be divided by labels that nothing is predicted of.
            "unigram_loss": None if entropy is None or labels is None else entropy * labels[0] / labels[1],
            "loss_first": float(known[0]) if len(known) else math.nan,
            "loss_last": float(known[-1]) if len(known) else math.nan,
        }
