"""Runs and journals written with the parts of embevo.run alone: no torch, no threads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.effort import AskedEffort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, identity
from embevo.run.journal.ring import Journal
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.paths import RunPaths
from embevo.run.writing.effort_choice import EffortChoice
from embevo.run.writing.local_sink import create_run
from embevo.run.writing.sealing import Sealer
from support import encoded, frames
from support.layouts import layout_of


def frame_of(
    shape: tuple[int, int] = (5, 3), scalars: tuple[str, ...] = ("loss", "learning_rate"), **dtypes: str
) -> FrameSpec:
    """A frame of ``embeddings`` in float32, or of the given names and dtypes."""
    named = dtypes or {"embeddings": "float32"}
    return FrameSpec.of({name: (dtype, shape) for name, dtype in named.items()}, scalars)


def put(journal: Journal, row: int, step: int, *, seed: int = 0, seal: bool = True) -> None:
    """Commit the encoded matrices of a step as a row."""
    journal.begin(row)
    for name, dtype in journal.frame.matrices:
        values = encoded.matrix(step, journal.frame.shape, dtype, seed)
        journal.payload(row, name)[:] = values.tobytes()
    values = [encoded.loss_of(step, seed)] + [0.5] * (len(journal.frame.scalars) - 1)
    journal.commit(row, step, tuple(values[: len(journal.frame.scalars)]), seal=seal)


@dataclass
class WrittenRun:
    """A run on disk and the parts that wrote it; the journal is left in place."""

    path: Path
    frame: FrameSpec
    layout: Layout
    journal: Journal
    sealer: Sealer
    manifest: ManifestAppender
    steps: NDArray[np.int64]


def write_run(
    path: Path,
    *,
    rows: int,
    sealed: int,
    frame: FrameSpec | None = None,
    block_steps: int = 4,
    store: Store = "both",
    zarr_dtype: ZarrDtype = "float32",
    every: int = 1,
    seed: int = 0,
    token_count: NDArray[np.int64] | None = None,
    config: Mapping[str, object] | None = None,
    effort: AskedEffort = "small",
    **attributes: object,
) -> WrittenRun:
    """A run of ``rows`` rows at steps 0, every, ..., the first ``sealed`` of them sealed."""
    frame = frame or frame_of()
    path.mkdir(parents=True, exist_ok=True)
    paths = RunPaths(path)
    layout = layout_of(
        frame,
        block_steps,
        store=store,
        zarr_dtype=zarr_dtype,
        counted=token_count is not None,
        attributes={"config": {"seed": seed} if config is None else config, **attributes},
    )
    journal = Journal.create(paths.journal, frame, 2 * block_steps, run=identity(layout))
    manifest = create_run(paths, layout, token_count, sync=False)
    sealer = Sealer(paths, layout, manifest, rows=0, sync=False)
    sealer.effort = EffortChoice(effort)
    steps = encoded.steps_of(rows, every)
    for row in range(rows):
        put(journal, row, int(steps[row]), seed=seed)
        if row < sealed:
            sealer.snapshot(journal, row)
        if row + 1 <= sealed and (row + 1 == sealed or (row + 1) % block_steps == 0):
            sealer.seal(journal, row + 1)
    return WrittenRun(path, frame, layout, journal, sealer, manifest, steps)


def write_any(
    path: Path,
    frame: FrameSpec,
    *,
    rows: int,
    sealed: int,
    block_steps: int,
    store: Store,
    zarr_dtype: ZarrDtype,
) -> Path:
    """A run of any arrays, of steps 0, 1, 2, ..., the first ``sealed`` rows of it sealed."""
    path.mkdir(parents=True)
    paths = RunPaths(path)
    layout = layout_of(frame, block_steps, store=store, zarr_dtype=zarr_dtype)
    journal = Journal.create(paths.journal, frame, 2 * block_steps, run=identity(layout))
    sealer = Sealer(paths, layout, create_run(paths, layout, None, sync=False), rows=0, sync=False)
    for row in range(rows):
        frames.put(journal, row, row)
        if row < sealed:
            sealer.snapshot(journal, row)
            if row + 1 == sealed or (row + 1) % block_steps == 0:
                sealer.seal(journal, row + 1)
    journal.close()
    return path
