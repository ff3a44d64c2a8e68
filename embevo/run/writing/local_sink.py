"""The run's own directory as the place that sealed rows go to.

A block is written in this order: its entry in the manifest, with the checksums of the files to come; its
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
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Created
from embevo.run.paths import RunPaths, snapshot_name
from embevo.run.writing.sink import SealedBlock


class LocalSink:
    """Writes snapshots one by one, and blocks whole."""

    def __init__(self, paths: RunPaths, layout: Layout, manifest: ManifestAppender, *, sync: bool) -> None:
        """Write into a run that is there; with ``sync``, blocks and their snapshots survive a power cut."""
        self._paths = paths
        self._manifest = manifest
        self._snapshots = str(paths.snapshots)
        self._sync = sync
        self._sync_snapshots = sync and layout.store != "zarr"

    def snapshot(self, step: int, image: memoryview) -> None:
        """Write the safetensors file of a step; OSError names the path."""
        write_file(f"{self._snapshots}/{snapshot_name(step)}", image, sync=False)

    def block(self, sealed: SealedBlock) -> None:
        """Write a block, in the order that is given at the top; OSError names the path."""
        if self._sync_snapshots:
            for step in sealed.entry.steps:
                sync_file(self._paths.snapshot(step))
            sync_file(self._paths.snapshots)
        # A block whose sealing was cut short is sealed again with the same bytes, and entered once.
        if self._manifest.last != sealed.entry:
            self._manifest.append(sealed.entry, sync=self._sync)
        for key, data in sealed.files.items():
            write_file(self._paths.trajectory / key, data, sync=self._sync, direct=sealed.past_cache)
        for key, data in sealed.metadata.items():
            write_file(self._paths.trajectory / key, data, sync=self._sync)


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
