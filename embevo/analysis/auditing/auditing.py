"""All steps of a run computed again by every implementation, and the causes of what differs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from embevo.analysis.auditing.causes import cause_of
from embevo.analysis.auditing.findings import Audit, Explained, FirstDifference
from embevo.analysis.auditing.recorded import RecordedUpdates
from embevo.analysis.auditing.replay import Computed, replay
from embevo.analysis.auditing.settings import IMPLEMENTATIONS, OptimizerSettings
from embevo.analysis.auditing.updates import Rule, bits_of, ulps_between
from embevo.run.reading.reader import Run

# Elements that differ are remembered up to so many.
_MOST_PLACES: Final = 4
_SAID_EVERY: Final = 50


@dataclass
class Tally:
    """What one implementation explains of a run.

    Attributes:
        shares: of equal elements, by update.
        unequal: rows in which anything differs.
        places: flat positions of elements that differ anywhere; one more than are remembered means many.
        largest: difference in units in the last place.
        first: the first step that differs.
    """

    shares: list[float] = field(default_factory=list)
    unequal: list[int] = field(default_factory=list)
    places: set[int] = field(default_factory=set)
    largest: int = 0
    first: Computed | None = None

    def add(self, computed: Computed) -> None:
        """Count a step."""
        if computed.is_equal:
            self.shares.append(1.0)
            return
        self.shares.append(computed.share())
        self.unequal.append(computed.update.row)
        self.largest = max(self.largest, computed.most_ulps())
        self.first = self.first or computed
        if len(self.places) <= _MOST_PLACES:
            for places in computed.differing().values():
                self.places.update(places[: _MOST_PLACES + 1].tolist())

    def explained(self) -> Explained:
        """In two numbers."""
        return Explained(len(self.shares) - len(self.unequal), float(np.mean(self.shares)))


def audited(
    run: Run, array: str, settings: OptimizerSettings, on_rows: Callable[[int, int], None] | None
) -> Audit:
    """See :func:`embevo.analysis.audit`."""
    device = "cuda" if settings.device == "cuda" and torch.cuda.is_available() else "cpu"
    recorded = RecordedUpdates(run, array, settings, device)
    # The one that the run says comes first, and wins where several explain the same.
    names = sorted(IMPLEMENTATIONS, key=lambda name: name != settings.implementation)
    rules = [Rule(replace(settings, implementation=name)) for name in names]
    tallies = [Tally() for _ in rules]
    for done, computed in enumerate(replay(recorded, rules), start=1):
        for tally, one in zip(tallies, computed, strict=True):
            tally.add(one)
        if on_rows is not None and (done % _SAID_EVERY == 0 or done == len(recorded.rows)):
            on_rows(done, len(recorded.rows))
    explained = [tally.explained() for tally in tallies]
    best = max(range(len(rules)), key=lambda index: (explained[index].steps, explained[index].share))
    tally, rule = tallies[best], rules[best]
    finding = None
    if tally.unequal:
        finding = cause_of(
            recorded, rule, np.array(tally.unequal), sorted(tally.places), first_share=min(tally.shares)
        )
    kept = "none" if not settings.moments else "recorded" if recorded.moments else "carried on"
    return Audit(
        run_path=str(run.path),
        array=array,
        settings=rule.settings,
        said=settings.implementation,
        moments=kept,
        steps=run.steps[recorded.rows],
        shares=np.array(tally.shares),
        largest_ulps=tally.largest,
        implementations={name: explained[names.index(name)] for name in IMPLEMENTATIONS},
        first=None if tally.first is None else _first(recorded, tally.first),
        finding=finding,
        left_out=recorded.left_out,
        unstepped=tuple(run.steps[recorded.unstepped].tolist()),
    )


def _first(recorded: RecordedUpdates, computed: Computed) -> FirstDifference:
    differing = computed.differing()
    name = next(iter(differing))
    place = int(differing[name][0])
    found, made = next((found, made) for one, found, made in computed.pairs() if one == name)
    index = tuple(int(part) for part in np.unravel_index(place, tuple(found.shape)))
    return FirstDifference(
        step=int(recorded.run.steps[computed.update.row]),
        array=recorded.arrays()[name],
        place=recorded.label_of(index),
        recorded=shown(found.flatten()[place]),
        computed=shown(made.flatten()[place]),
        ulps=int(ulps_between(found.flatten()[place], made.flatten()[place])),
    )


def shown(value: Tensor) -> str:
    """A number and its bits."""
    width = 8 * value.element_size()
    bits = int(bits_of(value)) & ((1 << width) - 1)
    return f"{float(value):.9g} (0x{bits:0{width // 4}x})"
