"""Writing a run: snapshots one by one, blocks whole.

A block is sealed in this order: its entry in the manifest, with the checksums of the files to come; its
chunk files; the metadata of the arrays; the metadata of the group, by one rename, which is when readers see
the rows. The manifest comes first because a short last block is replaced by a longer one under the same name:
whichever of the two a kill leaves in place, the manifest knows it. Entries beyond the group's length are
intentions.
"""

import json

import numpy as np
from numpy.typing import NDArray

from embevo.run.disk.atomic import sync_file, write_file
from embevo.run.disk.checksum import digests
from embevo.run.format.layout import GROUP_METADATA, Layout
from embevo.run.journal.ring import Journal
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Block, Created
from embevo.run.paths import RunPaths, snapshot_name


class Sealer:
    """Moves rows from the journal to where they stay.

    Attributes:
        rows: rows sealed so far.
    """

    def __init__(
        self, paths: RunPaths, layout: Layout, manifest: ManifestAppender, *, rows: int, sync: bool
    ) -> None:
        """Seal after ``rows`` rows; with ``sync``, what is sealed survives a power cut."""
        self.rows = rows
        self._paths = paths
        self._layout = layout
        self._manifest = manifest
        self._snapshots = layout.store != "zarr"
        self._snapshot_directory = str(paths.snapshots)
        self._sync = sync

    def snapshot(self, journal: Journal, row: int) -> None:
        """Write the safetensors file of one row, if the run has such files; OSError names the path."""
        if self._snapshots:
            step, _, _ = journal.head(row)
            path = f"{self._snapshot_directory}/{snapshot_name(step)}"
            write_file(path, journal.image(row).data, sync=False)

    def seal(self, journal: Journal, stop: int) -> None:
        """Seal the rows up to ``stop``, all of one block, whose rows are all in the journal.

        Raises:
            OSError: with the path; what was sealed before is untouched, the rows are still in the journal.
        """
        steps_per_block = self._layout.block_steps
        block = (stop - 1) // steps_per_block
        start = block * steps_per_block
        heads = [journal.head(row) for row in range(start, stop)]
        steps = np.array([step for step, _, _ in heads], np.int64)
        files = self._layout.block(
            block,
            steps,
            np.stack([scalars for _, scalars, _ in heads]),
            {name: journal.stacked(start, stop - start, name) for name in self._layout.matrices},
        )
        metadata = self._layout.metadata(stop)
        if self._sync and self._snapshots:
            self._sync_snapshots([int(step) for step in steps])
        entry = Block.of(
            block,
            start,
            steps.tolist(),
            files=digests(files),
            metadata=digests(metadata),
            images=[image for _, _, image in heads],
        )
        # A block whose sealing was cut short is sealed again with the same bytes, and entered once.
        if self._manifest.last != entry:
            self._manifest.append(entry, sync=self._sync)
        for key, data in (*files.items(), *metadata.items()):
            write_file(self._paths.trajectory / key, data, sync=self._sync)
        self.rows = stop

    def _sync_snapshots(self, steps: list[int]) -> None:
        for step in steps:
            sync_file(self._paths.snapshot(step))
        sync_file(self._paths.snapshots)


def create_run(
    paths: RunPaths, layout: Layout, token_count: NDArray[np.int64] | None, *, sync: bool
) -> ManifestAppender:
    """Lay out a new run of no rows in an existing directory, and return what adds to its manifest.

    The group's metadata is written last: a directory without it is no run yet.
    """
    constants = layout.constants(token_count)
    metadata = layout.metadata(0)
    if layout.store != "zarr":
        paths.snapshots.mkdir()
    # The group's metadata whole, so that it can be rebuilt.
    first = Created(digests(constants), digests(metadata), json.loads(metadata[GROUP_METADATA]))
    manifest = ManifestAppender.create(paths.manifest, first, sync=sync)
    for key in metadata:
        (paths.trajectory / key).parent.mkdir(parents=True, exist_ok=True)
    for key, data in (*constants.items(), *metadata.items()):
        write_file(paths.trajectory / key, data, sync=sync)
    if sync:
        for directory in (paths.trajectory, paths.root, paths.root.parent):
            sync_file(directory)
    return manifest
