"""Writing damaged files again: chunks from snapshots and the journal, snapshots from chunks and the journal.

What is written has the checksum that the manifest has for it, or it is not written.
"""

import contextlib

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError, EmbevoError
from embevo.run.disk.checksum import digest
from embevo.run.format.effort import EFFORTS
from embevo.run.format.recompressing import recompressed
from embevo.run.journal.ring import Frame
from embevo.run.manifest.damage import damaged_files
from embevo.run.manifest.entry import Block
from embevo.run.reading.sealed import SealedRows
from embevo.run.reading.snapshots import read_snapshot
from embevo.run.repair.repair import Repair


def rebuild(repair: Repair, rows: int) -> SealedRows:
    """Rebuild the files of the first rows, as far as that can be done; returns the rows."""
    sealed = SealedRows(repair.paths, repair.manifest, repair.layout, rows)
    for block in repair.manifest.sealed(rows):
        bad = dict(damaged_files(repair.paths, repair.manifest, block))
        if bad:
            _rebuild_block(repair, block, bad, sealed)
        if repair.layout.store != "zarr":
            _rebuild_snapshots(repair, block, sealed)
    _rebuild_constants(repair)
    return sealed


def _rebuild_constants(repair: Repair) -> None:
    constants = repair.layout.constants(None)
    created = repair.manifest.created
    for key, what in damaged_files(repair.paths, repair.manifest, created):
        if key in constants and digest(constants[key]) == created.files[key]:
            repair.rebuilt(f"{repair.paths.trajectory.name}/{key}", constants[key])
        else:
            repair.report.lost.append(f"trajectory.zarr/{key} {what}: it is nowhere else in the run")


def _rebuild_block(repair: Repair, block: Block, bad: dict[str, str], sealed: SealedRows) -> None:
    layout = repair.layout
    rows, steps = block.rows, block.steps
    frames = [_in_journal(repair, block, row) for row in rows]
    scalars = np.full((len(rows), len(layout.frame.scalars)), np.nan)
    for index, name in enumerate(layout.frame.scalars):
        if any(key.startswith(f"{name}/") for key in bad):
            scalars[:, index] = [frame.scalars[index] if frame else np.nan for frame in frames]
        else:
            scalars[:, index] = sealed.read(name, slice(rows.start, rows.stop, 1), ())
    images = []
    with contextlib.suppress(EmbevoError, OSError):
        images = [
            frame.image if frame else _snapshot(repair, block, row, step)
            for frame, row, step in zip(frames, rows, steps, strict=True)
        ]
    matrices = {
        name: np.stack([layout.frame.matrix(image, name) for image in images])
        if images
        else np.zeros((len(rows), *layout.frame.by_name[name].shape), layout.frame.dtype(name))
        for name in layout.matrices
    }
    found: dict[str, bytes] = {}
    # The manifest knows the bytes, and not with which effort they were made: most blocks are small.
    for effort in reversed(EFFORTS):
        if found.keys() == bad.keys():
            break
        files = layout.block(block.number, np.array(steps, np.int64), scalars, matrices, effort=effort)
        for key in bad.keys() - found.keys():
            made = _as_written(repair, block, key, bytes(files[key]))
            if made is not None:
                found[key] = made
    for key, what in bad.items():
        if key in found:
            repair.rebuilt(f"{repair.paths.trajectory.name}/{key}", found[key])
        else:
            matrix = key.partition("/")[0] in layout.matrices
            why = (
                "its snapshots are not all there and whole"
                if matrix
                else "its values are nowhere else in the run"
            )
            repair.report.lost.append(f"trajectory.zarr/{key} (block {block.number}) {what}: {why}")


def _as_written(repair: Repair, block: Block, key: str, data: bytes) -> bytes | None:
    """The bytes of a file that was made again, as it was recorded or compacted; None if it was neither."""
    written = repair.manifest.digests_of(block, key)
    if digest(data) in written:
        return data
    if block.compacted:
        smaller = recompressed(repair.layout.arrays[key.partition("/")[0]], data)
        return smaller if digest(smaller) in written else None
    return None


def _in_journal(repair: Repair, block: Block, row: int) -> Frame | None:
    """The row, if the ring still holds it as it was sealed."""
    with contextlib.suppress(DamagedError):
        frame = repair.journal.read(row, unproven=True) if repair.journal else None
        if frame is not None and frame.image_checksum == block.image_checksum(row):
            return frame
    return None


def _snapshot(repair: Repair, block: Block, row: int, step: int) -> NDArray[np.uint8]:
    return read_snapshot(repair.paths.snapshot(step), repair.layout.frame, block.image_checksum(row))


def _rebuild_snapshots(repair: Repair, block: Block, sealed: SealedRows) -> None:
    for row, step in zip(block.rows, block.steps, strict=True):
        try:
            _snapshot(repair, block, row, step)
        except (DamagedError, FileNotFoundError) as damage:
            name = repair.paths.snapshot(step).relative_to(repair.paths.root).as_posix()
            try:
                image = _image(repair, block, row, sealed)
            except EmbevoError as error:
                why = damage if repair.layout.store == "safetensors" else error
                repair.report.lost.append(f"{name} (step {step}): {why}")
                continue
            repair.rebuilt(name, image.data)


def _image(repair: Repair, block: Block, row: int, sealed: SealedRows) -> NDArray[np.uint8]:
    frame = _in_journal(repair, block, row)
    if frame is not None:
        return frame.image
    (image,) = sealed.images([row])
    return image
