"""The progress bar of commands that go through steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, where that is a terminal; yields what is to be called with each step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("step {task.fields[step]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, step="")
        yield lambda step: progress.update(task, advance=1, step=step)


@contextmanager
def measuring(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr, where that is a terminal; yields what takes rows done and rows in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def tell(done: int, rows: int) -> None:
            progress.update(task, completed=done, total=rows)

        yield tell


class Told(TypedDict):
    """What an analysis calls."""

    on_rows: Callable[[int, int], None]
    on_walks: Callable[[int, int], None]


@contextmanager
def analysing(run: Path) -> Iterator[Told]:
    """Show a bar on stderr, where that is a terminal, of a run's rows and then of its random walks."""
    columns = (
        TextColumn("{task.description}"),
        # As wide as a terminal leaves it, so that the time that is left is seen in any.
        BarColumn(bar_width=None),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, expand=True
    ) as progress:
        rows = progress.add_task(f"Measuring {run}", total=None, done="")
        # The time that is left is told by the speed of the same work.
        comparing = f"Comparing {run} with random walks"
        walks = progress.add_task(comparing, total=None, visible=False, start=False, done="")

        def on_rows(done: int, total: int) -> None:
            progress.update(
                rows, completed=done, total=total, done=f"{done:,}/{total:,}", refresh=done >= total
            )

        def on_walks(done: int, total: int) -> None:
            if not done:
                progress.update(rows, visible=False)
                progress.start_task(walks)
            share = f"{100 * done // max(1, total)} %"
            progress.update(walks, completed=done, total=total, visible=True, done=share, refresh=not done)

        yield {"on_rows": on_rows, "on_walks": on_walks}
