"""At the end of ``embevo train``: making the run small, or saying what that would save."""

from pathlib import Path
from typing import Final

from rich.console import Console

from embevo.errors import EmbevoError

from .progress import measuring
from .readable import command_line, program, size_of

_WORTH_SAYING: Final = 0.95
# As long as a recorder gives what is left to be sent.
_PATIENCE_SECONDS: Final = 60.0


def make_small(console: Console, run: Path, *, at_once: bool, mirror: str | None) -> None:
    """Compact a run, or, where it was written with little effort, say how, and what that would save.

    Args:
        console: for what is to be said.
        run: that is complete.
        at_once: whether to compact it.
        mirror: URL to which it was sent while it was recorded; what becomes smaller is sent again.

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
        if mirror is not None:
            text += f"\n  {command_line(program('embevo'), 'push', run, mirror)}"
    console.print(f"\n{text}", highlight=False, markup=False, soft_wrap=True)
    if at_once and mirror is not None:
        _send(console, run, mirror)


def _send(console: Console, run: Path, mirror: str) -> None:
    """Have object storage hold the run as it is now; where that fails, say how it is done later."""
    from embevo.run.cloud.bucket import Bucket  # noqa: PLC0415 - most trainings send nothing
    from embevo.run.cloud.patience import Patience  # noqa: PLC0415
    from embevo.run.mirroring.pushing import Pusher  # noqa: PLC0415
    from embevo.run.paths import RunPaths  # noqa: PLC0415

    try:
        with measuring("sending") as on_rows:
            pusher = Pusher(RunPaths(run), Bucket(mirror, Patience(_PATIENCE_SECONDS)), on_rows)
            pusher.push()
        text = f"Sent to {mirror} as it is now: {size_of(pusher.sent_bytes)}."
    except EmbevoError as error:
        command = command_line(program("embevo"), "push", run, mirror)
        text = f"What is at {mirror} is not compacted: {error}\n  {command}\nsends it as it is now."
    console.print(text, highlight=False, markup=False, soft_wrap=True)
