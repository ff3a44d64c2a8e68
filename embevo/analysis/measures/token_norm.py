"""How long token vectors are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, of_group
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Told, Variable, Whole

_LENGTH = "embedding units"


class TokenNorm(Measure):
    """Smallest, mean and largest norm of a group's vectors."""

    section = "Geometry"
    variables = (
        Variable(
            "token_norm_min",
            ("step", "group"),
            "smallest token norm",
            _LENGTH,
            r"min \|x\| over G",
            "each row",
        ),
        Variable(
            "token_norm_mean",
            ("step", "group"),
            "mean token norm",
            _LENGTH,
            r"mean \|x\| over G",
            "each row",
            Told(),
        ),
        Variable(
            "token_norm_max",
            ("step", "group"),
            "largest token norm",
            _LENGTH,
            r"max \|x\| over G",
            "each row",
        ),
        Variable(
            "token_norm_first",
            ("token",),
            "token norm in the first row",
            _LENGTH,
            r"\|x\| in the first row",
            "first and last row",
        ),
        Variable(
            "token_norm_last",
            ("token",),
            "token norm in the last row",
            _LENGTH,
            r"\|x\| in the last row",
            "first and last row",
        ),
    )

    def take(self, block: Block) -> None:
        """The norms of each row."""
        least, mean, most = (self.by_group(len(block.values)) for _ in range(3))
        for group, ids in enumerate(self.outline.groups.ids):
            if len(ids):
                length = of_group(block.lengths, ids)
                least[:, group] = length.min(axis=1)
                mean[:, group] = length.mean(axis=1)
                most[:, group] = length.max(axis=1)
        self.keep(token_norm_min=least, token_norm_mean=mean, token_norm_max=most)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All rows' norms, and each token's in the first and the last row."""
        return {
            **super().finish(whole),
            "token_norm_first": norms(whole.first.astype(np.float64)),
            "token_norm_last": norms(whole.last.astype(np.float64)),
        }
