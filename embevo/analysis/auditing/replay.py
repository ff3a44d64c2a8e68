"""Computing recorded steps again by one or several rules, and comparing bits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embevo.analysis.auditing.clipping import scaled_gradient
from embevo.analysis.auditing.recorded import GRADIENT, RecordedUpdates, Update
from embevo.analysis.auditing.updates import Rule, State, bits_of, ulps_between, updated

# What stands in place of something recorded: row and name, the weights' being empty.
Changes = Mapping[tuple[int, str], Tensor]


@dataclass(frozen=True, eq=False)
class Computed:
    """A step that was computed again.

    Attributes:
        update: what was recorded of it.
        expected: what follows by the rule.
    """

    update: Update
    expected: State

    def pairs(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, recorded and computed values of each array that is recorded."""
        for name, found in self.update.after.arrays().items():
            if name in self.expected.arrays():
                yield name, found, self.expected.arrays()[name].to(found.dtype)

    @property
    def is_equal(self) -> bool:
        """Whether all bits of all arrays are."""
        return all(torch.equal(bits_of(found), bits_of(made)) for _, found, made in self.pairs())

    def share(self) -> float:
        """The share of the elements of all arrays whose bits are equal."""
        equal = total = 0
        for _, found, made in self.pairs():
            equal += int((bits_of(found) == bits_of(made)).sum())
            total += found.numel()
        return equal / total

    def differing(self) -> dict[str, Tensor]:
        """Where it differs: flat positions by array, of those arrays that do."""
        places = {
            name: torch.nonzero((bits_of(found) != bits_of(made)).flatten()).flatten()
            for name, found, made in self.pairs()
        }
        return {name: place for name, place in places.items() if len(place)}

    def most_ulps(self) -> int:
        """The largest difference, in units in the last place."""
        return max(int(ulps_between(found, made).max()) for _, found, made in self.pairs())


def replay(
    recorded: RecordedUpdates,
    rules: Sequence[Rule],
    rows: NDArray[np.int64] | None = None,
    changes: Changes | None = None,
    begin: Sequence[Mapping[str, Tensor]] | None = None,
) -> Iterator[list[Computed]]:
    """Compute updates again, one rule beside the other.

    Where moments are recorded, each step is computed from the one recorded before it. Where they are not,
    each rule carries its own on, and the rows must follow each other.

    Args:
        recorded: the updates.
        rules: how they are supposed to have been made.
        rows: which; by default all that can be.
        changes: in place of what was recorded.
        begin: moments before the first row, for each rule, where they are carried on.
    """
    carried: list[Mapping[str, Tensor]] = list(begin) if begin is not None else [{} for _ in rules]
    for found in recorded.updates(rows):
        update = _changed(found, changes) if changes else found
        computed = []
        has_step = not bool(torch.isnan(update.gradient).all())
        for index, rule in enumerate(rules):
            before = update.before
            if not recorded.moments:
                before = State(before.weights, dict(carried[index]))
            expected = _step(recorded, rule, update, before) if has_step else before
            if not recorded.moments:
                carried[index] = expected.moments
            computed.append(Computed(update, expected))
        if not has_step:
            recorded.note_unstepped(update.row)
        yield computed


def _step(recorded: RecordedUpdates, rule: Rule, update: Update, before: State) -> State:
    rate = recorded.rate(update.row, rule.rate_shift)
    gradient = update.gradient
    if rule.clipped:
        gradient = scaled_gradient(rule, before, update, rate)
    return updated(rule, before, gradient, update.count, rate)


def _changed(update: Update, changes: Changes) -> Update:
    def state(of: State, row: int) -> State:
        return State(
            changes.get((row, ""), of.weights),
            {name: changes.get((row, name), moment) for name, moment in of.moments.items()},
        )

    return replace(
        update,
        before=state(update.before, update.row - 1),
        gradient=changes.get((update.row, GRADIENT), update.gradient),
        after=state(update.after, update.row),
    )
