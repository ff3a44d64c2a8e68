"""The states of a sweep: a table on a terminal, a line for each change anywhere else."""

from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from embevo.experiment.sweep import Status

_STYLES: Final = {
    "complete": "green",
    "failed": "red",
    "unknown": "red",
    "recording": "cyan",
    "interrupted": "yellow",
}


class SweepTable:
    """Shows states, again and again; a context manager."""

    def __init__(self, console: Console) -> None:
        """Show them on a console."""
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._before: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, found: list[Status]) -> None:
        """Show what has become of the runs now."""
        if self._live is not None:
            self._live.update(table_of(found), refresh=True)
            return
        for status in found:
            if self._before.get(status.name) != status.state:
                self._before[status.name] = status.state
                self._console.print(line_of(status), highlight=False, markup=False, soft_wrap=True)


def line_of(status: Status) -> str:
    """One run in one line."""
    reason = f": {status.reason}" if status.reason else ""
    return f"{status.name:<30} {status.state:<12} {_steps(status)}{reason}"


def table_of(found: list[Status]) -> Table:
    """All runs in a table."""
    counts = {state: sum(status.state == state for status in found) for state in _STYLES}
    caption = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    table = Table("run", "state", "step", "", caption=caption or "nothing recorded yet", box=None)
    for status in found:
        style = _STYLES.get(status.state, "")
        table.add_row(status.name, Text(status.state, style), _steps(status), Text(status.reason))
    return table


def _steps(status: Status) -> str:
    return f"{'-' if status.step is None else f'{status.step:,}'} of {status.steps:,}"
