"""rewind(): shorten a run to its first rows."""

from embevo.run.disk.atomic import write_file
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run
from embevo.run.repair.strangers import sweep_strangers
from embevo.run.writing.run_writer import ring_of
from embevo.run.writing.sealing import Sealer


def rewind(paths: RunPaths, rows: int) -> None:
    """Shorten a run to its first rows; the caller holds the lock, and the journal is gone.

    Readers that have it open may see it shrink: this is the one thing that does that.
    """
    manifest = Manifest(paths.manifest)
    run = Run(paths.root)
    layout = run.layout
    first = rows // layout.block_steps * layout.block_steps
    journal = ring_of(run, rows)
    try:
        manifest.append({"kind": "rewound", "rows": first}, sync=True)
        for key, data in layout.metadata(first).items():
            write_file(paths.trajectory / key, data, sync=True)
        if rows > first:
            Sealer(paths, layout, manifest, rows=first, sync=True).seal(journal, rows)
    finally:
        journal.close()
    sweep_strangers(paths, manifest, layout, rows, waiting=[], interrupted=False)
    paths.journal.unlink()
