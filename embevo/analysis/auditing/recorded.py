"""The steps of a run that can be computed again: what was before, the gradient, and what came out."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embevo.analysis.auditing.settings import OptimizerSettings
from embevo.analysis.auditing.updates import State
from embevo.errors import AnalysisError
from embevo.run.format.steps import describe
from embevo.run.reading.reader import Run

GRADIENT: Final = "grad"
# Of all arrays together, read at a time.
_BLOCK_BYTES: Final = 32 << 20


@dataclass(frozen=True, eq=False)
class Update:
    """One step that was recorded with the step before it.

    Attributes:
        row: of the state after it.
        count: which of the optimizer's steps it is, from 1.
        before: the state before it; without moments where none are recorded, or before the first.
        gradient: as it was recorded.
        after: the state after it, with the moments that are recorded.
    """

    row: int
    count: int
    before: State
    gradient: Tensor
    after: State


class RecordedUpdates:
    """The updates of one array of a run.

    Attributes:
        settings: of the optimizer.
        moments: names of the moments that are recorded; all that the optimizer keeps, or none.
        rows: ``(update,)`` the rows that can be computed again from the row before.
        rates: ``(row,)`` float64 learning rates.
        left_out: why other rows cannot, with their steps.
        unstepped: rows found so far whose gradient is NaN throughout: the optimizer had none, and passed the
            array over without counting a step.
    """

    def __init__(self, run: Run, array: str, settings: OptimizerSettings, device: str) -> None:
        """Look at what is there.

        Raises:
            AnalysisError: what an audit cannot do without is not recorded; the message says which line does.
        """
        self.run, self.array, self.settings, self._device = run, array, settings, device
        names = set(run.frame.by_name)
        if f"{array}.{GRADIENT}" not in names:
            raise AnalysisError(
                f"{run.path} has no {array}.{GRADIENT}, without which no step can be computed again. "
                f"embevo.record(model, optimizer, run_dir, what=[{self._wanted()}]) records what "
                f"is needed, and so does embevo train --record {self._short()}"
            )
        self.rates: NDArray[np.float64] = run["learning_rate"][:]
        self.moments = tuple(name for name in settings.moments if f"{array}.{name}" in names)
        if self.moments != settings.moments:
            self.moments = ()
        self.unstepped: list[int] = []
        self.left_out: dict[str, list[int]] = {}
        self.rows = self._rows()
        if not len(self.rows):
            reasons = "; ".join(f"{why}: {describe(steps)}" for why, steps in self.left_out.items())
            raise AnalysisError(
                f"No step of {array} in {run.path} can be computed again. {reasons or 'It has one step'}. "
                f"embevo.record(model, optimizer, run_dir, what=[{self._wanted()}]) records what is needed "
                "at every step"
            )

    def _wanted(self) -> str:
        kept = [self.array, *(f"{self.array}.{name}" for name in (GRADIENT, *self.settings.moments))]
        return ", ".join(f'"{name}"' for name in kept)

    def _short(self) -> str:
        return ",".join(("weights", GRADIENT, *self.settings.moments))

    def _rows(self) -> NDArray[np.int64]:
        steps = self.run.steps
        follows = np.diff(steps, prepend=-2) == 1
        follows[:1] = False
        has_rate = np.isfinite(self.rates)
        needs_moments = bool(self.settings.moments) and not self.moments
        possible = follows & has_rate
        if needs_moments:
            # Moments are carried on from the optimizer's first step, and are lost at the first gap.
            begun = len(steps) > 0 and self.settings.steps_done == 0 and steps[0] == self.settings.first_step
            unbroken = np.logical_and.accumulate(possible | (np.arange(len(steps)) == 0))
            carried = possible & unbroken & begun
            self._leave_out(
                "no moments are recorded there, and none can be carried on from step 0", possible & ~carried
            )
            possible = carried
        after = np.arange(len(steps)) > 0
        self._leave_out("the step before is not recorded", after & ~follows)
        self._leave_out("no learning rate is recorded", follows & ~has_rate)
        return np.flatnonzero(possible)

    def _leave_out(self, why: str, rows: NDArray[np.bool_]) -> None:
        if rows.any():
            self.left_out[why] = self.run.steps[rows].tolist()

    def arrays(self) -> dict[str, str]:
        """Names of the arrays of a state, by the optimizer's name; the weights have the empty name."""
        return {"": self.array, **{name: f"{self.array}.{name}" for name in self.moments}}

    def updates(self, rows: NDArray[np.int64] | None = None) -> Iterator[Update]:
        """The updates that lead to rows, by default to all of :attr:`rows`, read in blocks."""
        wanted = self.rows if rows is None else rows
        names = {**self.arrays(), GRADIENT: f"{self.array}.{GRADIENT}"}
        a_row = sum(self.run.frame.by_name[name].nbytes for name in names.values())
        longest = max(1, _BLOCK_BYTES // a_row)
        place = 0
        while place < len(wanted):
            first = int(wanted[place])
            end = place + 1
            while end < len(wanted) and wanted[end] - first < longest and wanted[end] == wanted[end - 1] + 1:
                end += 1
            last = int(wanted[end - 1])
            block = {
                key: self.run[name].torch("native", slice(first - 1, last + 1)).to(self._device)
                for key, name in names.items()
            }
            for row in wanted[place:end].tolist():
                yield self._update(block, int(row), int(row) - first + 1)
            place = end

    def _update(self, block: Mapping[str, Tensor], row: int, place: int) -> Update:
        count = self.settings.steps_done + int(self.run.steps[row]) - self.settings.first_step
        return Update(
            row,
            count - bisect_left(self.unstepped, row),
            self._state(block, place - 1),
            block[GRADIENT][place],
            self._state(block, place),
        )

    def _state(self, block: Mapping[str, Tensor], place: int) -> State:
        moments = {name: block[name][place] for name in self.moments}
        # NaN stands for what does not exist yet: Adam begins with zeros, and SGD with the first gradient.
        missing = [name for name, moment in moments.items() if bool(torch.isnan(moment).all())]
        if missing and self.settings.kind == "SGD":
            moments = {}
        elif missing:
            moments = {name: torch.zeros_like(moment) for name, moment in moments.items()}
        return State(block[""][place], moments)

    def note_unstepped(self, row: int) -> None:
        """Have the optimizer's steps be counted without that of a row."""
        if row not in self.unstepped:
            insort(self.unstepped, row)

    def rate(self, row: int, shift: int) -> float:
        """The learning rate of a row, or of that so many rows later; the nearest there is at the ends."""
        shifted = min(max(row + shift, 1), len(self.rates) - 1)
        return float(self.rates[shifted])

    def label_of(self, index: tuple[int, ...]) -> dict[str, Any]:
        """Where an element is: its token, with its label, and its place on the other axes."""
        found: dict[str, Any] = {}
        dimensions = self.run.frame.by_name[self.array].dimensions
        for dimension, place in zip(dimensions, index, strict=True):
            if dimension == "token":
                found["token"] = int(self.run.frame.token_ids[place])
                found["label"] = self.run.token_names.labels[place]
            else:
                found[dimension] = place
        return found
