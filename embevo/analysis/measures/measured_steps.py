"""The steps that the measures are taken at which would cost too much at every one."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole


class MeasuredSteps(Measure):
    """The coordinate of all measures over ``measured_step``, and of how many tokens they are."""

    section = "Axes"
    variables = (
        Variable(
            "measured_step",
            ("measured_step",),
            "step that costly measures are taken at",
            "steps",
            "global steps of at most 64 rows: the first, the last, and some between, evenly spaced in the "
            "logarithm",
            "the run",
        ),
    )
    numbers = (
        Number("kept_tokens", "tokens that are compared with the last row", "tokens"),
        Number("sampled_tokens", "tokens of which pairs are compared", "tokens"),
    )

    def take(self, block: Block) -> None:
        """Nothing of a row's values is needed."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The steps."""
        return {**super().finish(whole), "measured_step": self.outline.steps[self.outline.measured]}

    def tell(self) -> Mapping[str, Any]:
        """How many tokens stand for all where not all are looked at."""
        return {
            "kept_tokens": len(self.outline.kept.together),
            "sampled_tokens": len(self.outline.sample.together),
        }
