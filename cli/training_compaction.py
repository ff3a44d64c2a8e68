"""At the end of ``embevo train``: making the run small, or saying what that would save."""

from pathlib import Path
from typing import Final

from rich.console import Console

from .progress import measuring
from .readable import command_line, program, size_of

_WORTH_SAYING: Final = 0.95


def make_small(console: Console, run: Path, *, at_once: bool) -> None:
    """Compact a run, or, where it was written with little effort, say how, and what that would save.

    Raises:
        EmbevoError: as by ``compact``.
        OSError: a file cannot be read or written.
    """
    from embevo.run.repair.compacting import (  # noqa: PLC0415 - zarr loads when it is needed
        compact,
        estimate_compaction,
        was_written_lightly,
    )

    if at_once:
        with measuring("compacting") as on_rows:
            done = compact(run, on_rows=on_rows)
        text = f"Compacted: {size_of(done.before)} became {size_of(done.after)}."
    elif console.quiet or not was_written_lightly(run):
        return
    else:
        found = estimate_compaction(run)
        if found.after > _WORTH_SAYING * found.before:
            return
        command = command_line(program("embevo"), "compact", run)
        text = (
            f"Little effort was spent on size: {size_of(found.before)} would become about "
            f"{size_of(found.after)} with\n  {command}"
        )
    console.print(f"\n{text}", highlight=False, markup=False, soft_wrap=True)
