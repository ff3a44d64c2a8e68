"""The axes that most variables share: steps, tokens and groups."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Variable, Whole


class Axes(Measure):
    """Coordinates that are known before anything is measured."""

    section = "Axes"
    variables = (
        Variable("step", ("step",), "global training step", "steps", "global step of each row", "the run"),
        Variable("token", ("token",), "token id", "1", "ids of the recorded tokens", "the run"),
        Variable(
            "group",
            ("group",),
            "tokens measured together",
            "",
            "`all`, `live` and `dead` tokens, then the groups of the user's own",
            "the run",
        ),
        Variable(
            "member",
            ("token", "group"),
            "whether a token is in a group",
            "",
            "as counts and groups say",
            "the run",
        ),
    )

    def take(self, block: Block) -> None:
        """Nothing of a row's values is needed."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The coordinates."""
        ids, groups = self.outline.token_ids, self.outline.groups
        member = np.zeros((self.outline.tokens, len(groups.names)), bool)
        for place, rows in enumerate(groups.ids):
            member[rows, place] = True
        return {
            **super().finish(whole),
            "step": self.outline.steps,
            "token": np.arange(self.outline.tokens) if ids is None else ids,
            "group": np.array(groups.names, dtype=object),
            "member": member,
        }
