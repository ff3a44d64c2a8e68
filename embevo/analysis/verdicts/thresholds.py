"""Every number that a verdict depends on, in one place, each with the reason for it.

They were chosen from what the predictions say and from what is known of the statistics, before looking at
what comes out; ``embevo analyze --threshold NAME=VALUE`` changes any of them.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from embevo.errors import AnalysisError


def _because(default: float, reason: str) -> Any:
    return field(default=default, metadata={"reason": reason})


@dataclass(frozen=True)
class Thresholds:
    """The thresholds; :meth:`reasons` says why each is what it is."""

    min_steps: float = _because(
        100, "With fewer recorded intervals there is no dynamics to judge, and no tenth of the run to fit."
    )
    start_distinct: float = _because(
        1.0,
        "Share of tokens with a row of their own. Independent draws in many dimensions never coincide, so "
        "anything less than all is not what was predicted.",
    )
    start_places: float = _because(1, "One location is one location.")
    gradual_share: float = _because(
        0.05,
        "Share of the run in which half of the growth has happened. Growth at constant speed takes 0.50 of "
        "the run for it, diffusion 0.25, and under a rate that falls linearly to zero these are 0.29 and "
        "0.09: 0.05 is earlier than any of these.",
    )
    expansion: float = _because(
        1.1, "Last RMS radius over first. Growth by a tenth is visible; chance leaves 128 points within 0.01."
    )
    drift: float = _because(
        2.0,
        "Displacement of the centroid over what independent motion of its tokens would leave, which is 1 "
        "with a scatter of 1/sqrt(2 dim): twice as much is drift of the cloud as a whole.",
    )
    brownian_low: float = _because(
        0.8, "Exponent of MSD. 1 is Brownian, 0 confined and 2 ballistic; within a fifth of 1 counts as 1."
    )
    brownian_high: float = _because(1.2, "As brownian_low.")
    msd_min_lag: float = _because(
        10,
        "Steps. AdamW's momentum (beta1 = 0.9) remembers 1 / (1 - 0.9) = 10 steps; below, motion is smooth.",
    )
    msd_max_share: float = _because(
        0.1, "Longest lag over length of the run: beyond a tenth too few independent pairs are left."
    )
    dead_reach: float = _because(
        1.0,
        "Net displacement of a dead token over its norm at the start. Up to 1, it is no further from the "
        "origin than twice where it began.",
    )
    frozen_quanta: float = _because(
        1.0,
        "Net displacement of a dead token over the length of a vector of one ULP in every element: frozen up "
        "to quantization noise is no further away than where every element is rounded the other way.",
    )
    equilibrium_window: float = _because(
        0.2,
        "The last fifth, measured in summed squared learning rate: as a falling rate stops any cloud, and "
        "the squared radius of one that diffuses grows evenly in that sum.",
    )
    equilibrium_change: float = _because(
        0.05,
        "Relative change of the live radius in that window. A cloud that diffuses freely grows by "
        "1 - sqrt(0.8) = 0.11 there; half of that divides rest from motion.",
    )
    tight: float = _because(0.1, "RMS radius of the dead over that of the live: tight is ten times smaller.")
    hole_overlap: float = _because(
        0.5, "Jaccard index of the tokens in black holes and the dead: more in common than not."
    )
    separation_low: float = _because(0.2, "Embedding units; the prediction itself says 0.2 to 0.4.")
    separation_high: float = _because(0.4, "As separation_low.")

    def __post_init__(self) -> None:
        for name, value in self.to_json().items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise AnalysisError(f"threshold {name} is {value!r}; it must be a finite number")
            object.__setattr__(self, name, float(value))

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Self:
        """The defaults, with some replaced.

        Raises:
            AnalysisError: there is no threshold of a name; the message lists near ones.
        """
        names = [threshold.name for threshold in fields(cls)]
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
                raise AnalysisError(f"no threshold is called {name!r}; {hint}")
        return cls(**values)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """The defaults, with those replaced that texts such as ``tight=0.2`` name.

        Raises:
            AnalysisError: a text is not of that form, or its name or number is not one.
        """
        values = {}
        for text in texts:
            name, equals, number = text.partition("=")
            try:
                values[name.strip()] = float(number)
            except ValueError:
                equals = ""
            if not equals:
                raise AnalysisError(f"{text!r} is not a threshold: write NAME=VALUE, such as tight=0.2")
        return cls.of(values)

    @classmethod
    def reasons(cls) -> dict[str, str]:
        """Why each default is what it is."""
        return {threshold.name: str(threshold.metadata["reason"]) for threshold in fields(cls)}

    def to_json(self) -> dict[str, float]:
        """Every threshold by name, as plain JSON values."""
        return dataclasses.asdict(self)
