"""Every number that a verdict depends on, in one place, each with the reason for it.

They were chosen from what the predictions say and from what is known of the statistics, before looking at
what comes out of the runs that the predictions are judged on (docs/analysis.md says which);
``embevo analyze --threshold NAME=VALUE`` changes any of them.
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
    flight: float = _because(
        0.5,
        "Share of the tokens' way, beside that of their centroid, that became growth of the RMS radius, "
        "until half of the growth. Tokens that fly straight apart make it 1. More than half of the way "
        "outwards is an explosion, less is gradual, however long one trains.",
    )
    expansion: float = _because(
        1.1, "Last RMS radius over first. Growth by a tenth is visible; chance leaves 128 points within 0.01."
    )
    drift: float = _because(
        2.0,
        "Way of the bodies together over what independent ones would leave, which is 1: twice as much is "
        "drift of the cloud as a whole. Each live token is a body, and the dead are one.",
    )
    walk_tolerance: float = _because(
        0.2,
        "Distance of an exponent, or of a mean cosine, from its mean under the null. Within a fifth of what "
        "a random walk makes counts as a random walk; straight flight is 1 away.",
    )
    walk_resolution: float = _because(
        0.5,
        "Half of the width of the band of a random walk, up to which it tells one from a motion half-way to "
        "straight flight: a wider one supports nothing.",
    )
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
    dead_drift: float = _because(
        2.0,
        "Net displacement of dead tokens over that of random walks of their steps: twice as far is drift.",
    )
    frozen_quanta: float = _because(
        1.0,
        "Net displacement of a dead token, in the elements that can move, over the length of a vector of one "
        "ULP in each of them: frozen up to quantization noise is no further than where each element "
        "is rounded the other way.",
    )
    equilibrium_growth: float = _because(
        0.5,
        "Growth of the squared live radius over what the same steps add in random directions. A cloud that "
        "diffuses freely makes it 1; half of that, outwards or inwards, divides rest from motion.",
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
