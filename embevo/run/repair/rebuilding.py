"""Writing damaged files again: chunks from snapshots and the journal, snapshots from chunks and the journal.

What is written has the checksum that the manifest has for it, or it is not written.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError, EmbevoError
from embevo.run.disk.atomic import write_file
from embevo.run.disk.checksum import checksum, digest
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.layout import Layout
from embevo.run.journal.ring import Frame, Journal
from embevo.run.manifest.damage import damaged_files
from embevo.run.manifest.entry import Block
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.sealed import SealedRows


@dataclass(frozen=True)
class Rebuilder:
    """What a run's damaged files are rebuilt from.

    Attributes:
        paths: of the run.
        manifest: of the run.
        layout: of the run.
        journal: the ring, which may still hold rows that are sealed; None if there is none.
        rebuilt: files written again, below the run directory; added to.
        lost: what could not be rebuilt, and why; added to.
    """

    paths: RunPaths
    manifest: Manifest
    layout: Layout
    journal: Journal | None
    rebuilt: list[str]
    lost: list[str]

    def rebuild(self, rows: int) -> SealedRows:
        """Rebuild the files of the first rows, as far as that can be done; returns the rows."""
        sealed = SealedRows(self.paths, self.manifest, self.layout, rows)
        for block in self.manifest.sealed(rows):
            bad = dict(damaged_files(self.paths, self.manifest, block))
            if bad:
                self._rebuild_block(block, bad, sealed)
            if self.layout.store != "zarr":
                self._rebuild_snapshots(block, sealed)
        self._rebuild_constants()
        return sealed

    def _rebuild_constants(self) -> None:
        constants = self.layout.constants(None)
        created = self.manifest.created
        for key, what in damaged_files(self.paths, self.manifest, created):
            if key in constants and digest(constants[key]) == created.files[key]:
                self._write(self.paths.trajectory / key, constants[key])
            else:
                self.lost.append(f"trajectory.zarr/{key} {what}: it is nowhere else in the run")

    def _rebuild_block(self, block: Block, bad: dict[str, str], sealed: SealedRows) -> None:
        layout = self.layout
        rows, steps = block.rows, block.steps
        frames = [self._in_journal(block, row) for row in rows]
        scalars = np.full((len(rows), len(layout.frame.scalars)), np.nan)
        for index, name in enumerate(layout.frame.scalars):
            if any(key.startswith(f"{name}/") for key in bad):
                scalars[:, index] = [frame.scalars[index] if frame else np.nan for frame in frames]
            else:
                scalars[:, index] = sealed.read(name, slice(rows.start, rows.stop, 1), ())
        images = []
        with contextlib.suppress(EmbevoError, OSError):
            images = [
                frame.image if frame else self._snapshot(block, row, step)
                for frame, row, step in zip(frames, rows, steps, strict=True)
            ]
        matrices = {
            name: np.stack([layout.frame.matrix(image, name) for image in images])
            if images
            else np.zeros((len(rows), *layout.frame.by_name[name].shape), layout.frame.dtype(name))
            for name in layout.matrices
        }
        files = layout.block(block.number, np.array(steps, np.int64), scalars, matrices)
        for key, what in bad.items():
            if digest(files[key]) == block.files[key]:
                self._write(self.paths.trajectory / key, files[key])
            else:
                matrix = key.partition("/")[0] in layout.matrices
                why = (
                    "its snapshots are not all there and whole"
                    if matrix
                    else "its values are nowhere else in the run"
                )
                self.lost.append(f"trajectory.zarr/{key} (block {block.number}) {what}: {why}")

    def _in_journal(self, block: Block, row: int) -> Frame | None:
        """The row, if the ring still holds it as it was sealed."""
        with contextlib.suppress(DamagedError):
            frame = self.journal.read(row, unproven=True) if self.journal else None
            if frame is not None and frame.image_checksum == block.image_checksum(row):
                return frame
        return None

    def _snapshot(self, block: Block, row: int, step: int) -> NDArray[np.uint8]:
        path = self.paths.snapshot(step)
        image = np.frombuffer(read_regular(path, self.layout.frame.image_bytes), np.uint8)
        if checksum(image.data) != block.image_checksum(row):
            raise DamagedError(f"{path} is not what was written")
        return image

    def _rebuild_snapshots(self, block: Block, sealed: SealedRows) -> None:
        for row, step in zip(block.rows, block.steps, strict=True):
            try:
                self._snapshot(block, row, step)
            except (DamagedError, FileNotFoundError) as damage:
                path = self.paths.snapshot(step)
                try:
                    image = self._image(block, row, sealed)
                except EmbevoError as error:
                    name = path.relative_to(self.paths.root).as_posix()
                    why = damage if self.layout.store == "safetensors" else error
                    self.lost.append(f"{name} (step {step}): {why}")
                    continue
                self._write(path, image.data)

    def _image(self, block: Block, row: int, sealed: SealedRows) -> NDArray[np.uint8]:
        frame = self._in_journal(block, row)
        if frame is not None:
            return frame.image
        (image,) = sealed.images([row])
        return image

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data, sync=True)
        self.rebuilt.append(path.relative_to(self.paths.root).as_posix())
