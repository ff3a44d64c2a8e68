"""rewind(): shorten a run to its first rows, or to those up to a step."""

import numpy as np

from embevo.run.disk.atomic import write_file
from embevo.run.disk.lock import lock_run
from embevo.run.journal.place import remove_ring
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Rewound
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.reader import Run
from embevo.run.repair.ranks import refuse_pieces
from embevo.run.repair.recovery import recover_to_write
from embevo.run.repair.strangers import sweep_strangers
from embevo.run.writing.run_writer import ring_of
from embevo.run.writing.sealing import Sealer


def rewind(paths: RunPaths, rows: int, journal_dir: PathLike | None = None) -> None:
    """Shorten a run to its first rows; the caller holds the lock, and the journal is gone.

    Readers that have it open may see it shrink: this is the one thing that does that.
    """
    manifest = Manifest(paths.manifest)
    appender = ManifestAppender(manifest)
    run = Run(paths.root)
    layout = run.layout
    first = rows // layout.block_steps * layout.block_steps
    journal = ring_of(run, rows, journal_dir)
    try:
        appender.append(Rewound(first), sync=True)
        for key, data in layout.metadata(first).items():
            write_file(paths.trajectory / key, data, sync=True)
        if rows > first:
            Sealer(paths, layout, appender, rows=first, sync=True).seal(journal, rows)
    finally:
        journal.close()
    manifest.refresh()
    sweep_strangers(paths, manifest, layout, rows, waiting=[], interrupted=False)
    remove_ring(paths)


def rewind_to(path: PathLike, step: int, journal_dir: PathLike | None = None) -> int:
    """Drop what a run holds after a step, so that it is recorded anew; the run is recovered first.

    Args:
        path: the run; nothing else may be writing it.
        step: the last step to keep; -1 keeps none.
        journal_dir: where the ring goes meanwhile; where the environment says, or the run, if None.

    Returns:
        How many steps were dropped.

    Raises:
        NotARunError: there is no run.
        RunInUseError: another process is writing the run.
        ArgumentError: several processes have recorded it, each its piece.
        DamagedError: as by ``recover``.
        UnprovenError: captured rows wait in the journal for the machine that can prove them.
    """
    paths = RunPaths(path)
    lock = lock_run(paths.lock)
    try:
        refuse_pieces(paths, "rewound as a whole")
        recover_to_write(paths)
        return drop_after(paths, step, journal_dir)
    finally:
        lock.release()


def drop_after(paths: RunPaths, step: int, journal_dir: PathLike | None = None) -> int:
    """:func:`rewind_to`, for a caller that holds the lock and has recovered the run."""
    steps = Run(paths.root).steps
    kept = int(np.searchsorted(steps, step, side="right"))
    if kept < len(steps):
        rewind(paths, kept, journal_dir)
    return len(steps) - kept
