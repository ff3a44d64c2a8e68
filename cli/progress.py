"""The progress bar of commands that go through steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
def measuring(what: str, then: str = "") -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr, where that is a terminal; yields what takes rows done and rows in all.

    Args:
        what: is done with the rows.
        then: is done when all rows were seen, and takes a while.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def tell(done: int, rows: int) -> None:
            now = then if then and done >= rows else what
            progress.update(task, completed=done, total=rows, description=now)

        yield tell
