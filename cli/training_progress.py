"""What ``embevo train`` shows while it trains: a bar on a terminal, a line now and then anywhere else."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from torch import Tensor

    from embevo.experiment.record import Beginning

_REFRESH_SECONDS: Final = 0.25
# A log is kept and read later: a line at every tenth of the training, more where a tenth takes long, never
# many at once.
_LINE_SECONDS: Final = 30.0
_BETWEEN_LINES_SECONDS: Final = 2.0
_MARKS: Final = 10


class TrainingProgress(Protocol):
    """What shows how far the training is."""

    def begin(self, step: int) -> None:
        """Training begins at a step."""

    def step(self, step: int, loss: "Tensor") -> None:
        """A step is done; its loss is read only when it is shown, since reading waits for the device."""

    def finish(self) -> None:
        """Training has ended with the last step that was shown or not: show it."""


def progress_on(console: Console, steps: int) -> AbstractContextManager[TrainingProgress]:
    """What fits the console, for a training of so many steps."""
    if console.is_terminal and not console.quiet:
        return _Bar(console, steps)
    return nullcontext(Lines(console, steps))


def announce(console: Console, beginning: "Beginning") -> None:
    """Say what is about to be trained."""
    corpus = beginning.corpus
    ids = f"{len(corpus.live_ids)} live and {len(corpus.dead_ids)} dead token ids"
    lines = [
        ("Device", beginning.device),
        ("Corpus", f"{corpus.name}: {corpus.byte_count:,} bytes, {ids}"),
        ("Model", f"{beginning.parameters:,} parameters"),
        *(("Note", note) for note in beginning.notes),
    ]
    if beginning.step:
        lines.append(("Resumed", f"at step {beginning.step:,}"))
    for label, text in lines:
        console.print(f"{label:<9}{text}", highlight=False, markup=False, soft_wrap=True)


class _Bar(Progress):
    """Bar, step, loss, steps per second and time left; it touches the loss a few times a second only."""

    def __init__(self, console: Console, steps: int) -> None:
        super().__init__(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} it/s"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=1 / _REFRESH_SECONDS,
        )
        self._steps = steps
        self._bar: TaskID | None = None
        self._next = 0.0
        self._last = 0
        self._begun = (0, 0.0)

    def begin(self, step: int) -> None:
        """Start the bar."""
        self._begun = (step, time.monotonic())
        self._last = step
        self._bar = self.add_task("", total=self._steps, completed=step, loss="-", rate="-")

    def finish(self) -> None:
        """Show the last step, also when a signal came between two refreshes."""
        if self._bar is not None:
            self.update(self._bar, completed=self._last)

    def step(self, step: int, loss: "Tensor") -> None:
        """Show a step, if it is time to."""
        self._last = step
        now = time.monotonic()
        if self._bar is None or (now < self._next and step < self._steps):
            return
        self._next = now + _REFRESH_SECONDS
        first, begun = self._begun
        rate = (step - first) / max(now - begun, 1e-9)
        self.update(self._bar, completed=step, loss=f"{loss.item():.4f}", rate=f"{rate:.1f}")


class Lines:
    """Step, loss, steps per second and time left, a line now and then: for logs, files and pipes."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._begun = (0, 0.0)
        self._last: tuple[int, Tensor] | None = None
        self._shown = 0
        self._mark = 0
        self._due = 0.0
        self._silent_until = 0.0

    def begin(self, step: int) -> None:
        """Take the time; the first step gets a line."""
        self._begun = (step, time.monotonic())
        self._shown = step
        self._mark = step + 1

    def step(self, step: int, loss: "Tensor") -> None:
        """Print a line, if it is time to."""
        self._last = (step, loss)
        now = time.monotonic()
        if (step >= self._mark or now >= self._due) and now >= self._silent_until:
            self._print(step, loss, now)

    def finish(self) -> None:
        """Print the last step, unless it was printed."""
        if self._last is not None and self._last[0] != self._shown:
            self._print(*self._last, time.monotonic())

    def _print(self, step: int, loss: "Tensor", now: float) -> None:
        first, begun = self._begun
        rate = (step - first) / max(now - begun, 1e-9)
        left = _clock((self._steps - step) / rate) if rate else "-"
        self._console.print(
            f"Step {step:,} of {self._steps:,}, loss {loss.item():.4f}, {rate:.1f} it/s, {left} left",
            highlight=False,
            soft_wrap=True,
        )
        self._shown = step
        self._mark = self._steps * (step * _MARKS // self._steps + 1) // _MARKS
        self._due = now + _LINE_SECONDS
        self._silent_until = now + _BETWEEN_LINES_SECONDS


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
