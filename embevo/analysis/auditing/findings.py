"""What an audit of a run says."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.auditing.settings import OptimizerSettings


@dataclass(frozen=True)
class FirstDifference:
    """The first element whose recorded bits are not those that were computed.

    Attributes:
        step: global step of the state that it is in.
        array: that it is in.
        place: token, its label, and its place on other axes, by name.
        recorded: value and bits.
        computed: likewise.
        ulps: how many representable numbers lie between them.
    """

    step: int
    array: str
    place: Mapping[str, Any]
    recorded: str
    computed: str
    ulps: int


@dataclass(frozen=True)
class Finding:
    """A cause that explains what does not follow.

    Attributes:
        kind: ``flipped bit``, ``missing step``, ``moments``, ``clipping``, ``learning rate``,
            ``weight decay`` or ``class``.
        sentence: in words, with its numbers.
        equal: the share of the elements of the steps tried that follow with it.
    """

    kind: str
    sentence: str
    equal: float


@dataclass(frozen=True)
class Explained:
    """How far one implementation explains a run.

    Attributes:
        steps: how many steps follow to the last bit.
        share: of equal elements, over all steps.
    """

    steps: int
    share: float


@dataclass(frozen=True)
class Audit:
    """Whether a run's steps are those of its optimizer.

    Attributes:
        run_path: the run.
        array: what was stepped.
        settings: of the optimizer, with the implementation that explains most.
        said: the implementation that the run says.
        moments: ``recorded``, ``carried on`` from the first step, or ``none`` are kept.
        steps: ``(update,)`` int64 the global steps that were computed again.
        shares: ``(update,)`` float64 share of elements, of weights and moments together, that are equal.
        largest_ulps: the largest difference, in units in the last place.
        implementations: what each explains.
        first: the first difference; None if there is none.
        finding: what explains the differences; None if there are none, or nothing known does.
        left_out: why other steps cannot be computed again, with these.
        unstepped: steps at which the optimizer had no gradient, and the array stayed as it was.
    """

    run_path: str
    array: str
    settings: OptimizerSettings
    said: str
    moments: str
    steps: NDArray[np.int64]
    shares: NDArray[np.float64]
    largest_ulps: int
    implementations: Mapping[str, Explained]
    first: FirstDifference | None = None
    finding: Finding | None = None
    left_out: Mapping[str, list[int]] = field(default_factory=dict)
    unstepped: tuple[int, ...] = ()

    @property
    def explained(self) -> bool:
        """Whether every bit of every step that was computed again is."""
        return self.first is None

    def to_json(self) -> dict[str, Any]:
        """As JSON's values; of the shares only those below 1, by step."""
        below = {
            int(step): float(share) for step, share in zip(self.steps, self.shares, strict=True) if share < 1
        }
        return {
            "run": self.run_path,
            "array": self.array,
            "explained": self.explained,
            "optimizer": asdict(self.settings),
            "said_implementation": self.said,
            "moments": self.moments,
            "steps": len(self.steps),
            "steps_explained": len(self.steps) - len(below),
            "share_equal": float(self.shares.mean()),
            "shares_below_one": below,
            "largest_ulps": self.largest_ulps,
            "implementations": {name: asdict(of) for name, of in self.implementations.items()},
            "first": None if self.first is None else asdict(self.first),
            "finding": None if self.finding is None else asdict(self.finding),
            "left_out": dict(self.left_out),
            "unstepped": list(self.unstepped),
        }
