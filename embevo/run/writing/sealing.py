"""Sealing: rows of the ring become the bytes that stay, and go to every sink."""

import time

import numpy as np

from embevo.run.disk.checksum import Digest, digest, digests
from embevo.run.format.effort import Effort
from embevo.run.format.layout import Layout
from embevo.run.format.room import Room
from embevo.run.journal.ring import Journal
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Block
from embevo.run.paths import RunPaths
from embevo.run.writing.effort_choice import EffortChoice, Stopwatch
from embevo.run.writing.local_sink import LocalSink
from embevo.run.writing.past_cache import PastCache
from embevo.run.writing.sink import SealedBlock, Sink


class Sealer:
    """Moves rows from the journal to where they stay.

    Attributes:
        rows: rows sealed so far.
        sinks: where they go, one after the other; the run's own directory is the first.
        effort: how hard each block is compressed; what the group's metadata says, unless another choice is
            set.
        makes_files: whether the run has safetensors files.
        snapshots: the directory of the safetensors files.
    """

    def __init__(
        self, paths: RunPaths, layout: Layout, manifest: ManifestAppender, *, rows: int, sync: bool
    ) -> None:
        """Seal after ``rows`` rows; with ``sync``, what is sealed survives a power cut."""
        self.rows = rows
        self.sinks: list[Sink] = [LocalSink(paths, layout, manifest, sync=sync)]
        self.effort = EffortChoice()
        self._stopwatch = Stopwatch()
        self._room = Room()
        self._past_cache = PastCache()
        self._layout = layout
        self._matrix_bytes = sum(layout.frame.nbytes(name) for name in layout.matrices)
        self.makes_files = layout.store != "zarr"
        self._sync = sync
        self.snapshots = paths.snapshots

    @property
    def files_alone(self) -> bool:
        """Whether :meth:`snapshot` does nothing but make a file in the directory, which others can do too."""
        return self.makes_files and not self._sync and len(self.sinks) == 1

    def snapshot(self, journal: Journal, row: int) -> None:
        """Give one row to the sinks, if the run has safetensors files; OSError names the path."""
        if self.makes_files:
            step, _, _ = journal.head(row)
            image = journal.image(row).data
            for sink in self.sinks:
                sink.snapshot(step, image)

    def seal(self, journal: Journal, stop: int) -> None:
        """Seal the rows up to ``stop``, all of one block, whose rows are all in the journal.

        Raises:
            OSError: with the path; what was sealed before is untouched, the rows are still in the journal.
        """
        start = (stop - 1) // self._layout.block_steps * self._layout.block_steps
        size = (stop - start) * self._matrix_bytes
        since, between = self._stopwatch.begin(waits=self.effort.chooses)
        effort = self.effort.next(size, since, between)
        # Most of the chunks of a short block is filling, which would take as much room as a block's rows.
        filled = effort == "none" and self.effort.chooses and 2 * (stop - start) < self._layout.block_steps
        effort = "fast" if filled else effort
        beside: list[float] = []
        sealed = self._block(journal, start, stop, effort, beside)
        begun = time.monotonic()
        for sink in self.sinks:
            sink.block(sealed)
        if sealed.past_cache:
            self._past_cache.took(time.monotonic() - begun, since)
        self.rows = stop
        # What filling takes says nothing of whole blocks.
        self.effort.made(effort, 0 if filled else size, *self._stopwatch.spent(sum(beside)))

    def _block(
        self, journal: Journal, start: int, stop: int, effort: Effort, beside: list[float]
    ) -> SealedBlock:
        self._room.clear()
        number = start // self._layout.block_steps
        rows = range(start, stop)
        heads = [journal.head(row) for row in rows]
        images = [image for _, _, image in heads]
        if self._layout.shards is not None:
            # A run of several processes that was brought here without theirs.
            images = [self._layout.image_checksum(journal.image(row)) for row in rows]
        steps = np.array([step for step, _, _ in heads], np.int64)
        files: dict[str, bytes | memoryview] = {}
        listed: dict[str, Digest] = {}
        for key, data in self._layout.block_files(
            number,
            steps,
            np.stack([scalars for _, scalars, _ in heads]),
            {name: journal.stacked(start, stop - start, name) for name in self._layout.matrices},
            effort=effort,
            beside=beside,
            room=self._room,
        ):
            files[key] = data
            listed[key] = digest(data)
        metadata = self._layout.metadata(stop)
        entry = Block.of(
            number,
            start,
            steps.tolist(),
            files=listed,
            metadata=digests(metadata),
            images=images,
        )
        return SealedBlock(entry, files, metadata, self._past_cache.wanted(effort))
