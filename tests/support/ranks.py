"""Runs of several processes, written by one, of arrays whose values say where they belong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.run.disk.lock import WriterLock
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout
from embevo.run.format.shards import Piece, Shards
from embevo.run.format.token_names import Annotations
from embevo.run.journal.ring import Frame
from embevo.run.mirroring.mirror import Mirror
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run
from embevo.run.repair.resuming import resume
from embevo.run.writing.run_writer import RunWriter, StagedRun
from embevo.run.writing.whole import Whole, create_whole
from support.layouts import layout_of

SHAPE = (11, 4)
FRAME = FrameSpec.of({"embeddings": ("float32", SHAPE), "bias": ("bfloat16", (11,))}, ("loss",))
# Rows 4 + 4 + 3, and the bias with the first alone; the third of four processes records nothing.
SHARDS = Shards(
    4,
    {
        "embeddings": (Piece(0, (0, 0), (4, 4)), Piece(1, (4, 0), (4, 4)), Piece(3, (8, 0), (3, 4))),
        "bias": (Piece(0, (0,), (11,)),),
    },
)
# Columns 3 + 1.
COLUMNS = Shards(
    2,
    {
        "embeddings": (Piece(0, (0, 0), (11, 3)), Piece(1, (0, 3), (11, 1))),
        "bias": (Piece(0, (0,), (11,)),),
    },
)
BLOCK_STEPS = 3


def values(step: int) -> dict[str, NDArray[Any]]:
    """The arrays of a step."""
    whole = np.arange(44, dtype=np.float32).reshape(SHAPE) + 1000 * step
    return {"embeddings": whole, "bias": (np.arange(11) + 16 * step).astype(FRAME.dtype("bias"))}


@dataclass
class Ranks:
    """The whole run, and the writers of those of its processes."""

    paths: RunPaths
    layout: Layout
    writers: dict[int, RunWriter]
    rows: dict[int, int]
    mirrors: dict[int, Mirror]
    shards: Shards = SHARDS

    def capture(self, rank: int, steps: Sequence[int], *, flush: bool = False, seed: int = 0) -> None:
        """Capture steps in one process, and seal every full block, or all there is; of a training by a seed.

        A step is recorded under its number whatever the seed is, which shifts its values.
        """
        writer = self.writers[rank]
        for step in steps:
            row = self.rows[rank]
            found = {
                name: values(step + seed)[name][piece.box] for name, piece in self.shards.of(rank).items()
            }
            image = writer.layout.frame.image(found)
            # The scalars of the whole are those of the first process alone.
            loss = float(step) + 0.5 * (rank != self.shards.lead)
            writer.journal.put(Frame(row, step, np.array([loss]), image, 0))
            self.rows[rank] = row + 1
            writer.sealer.snapshot(writer.journal, row)
            if self.rows[rank] % BLOCK_STEPS == 0:
                writer.sealer.seal(writer.journal, self.rows[rank])
        if flush and writer.sealer.rows < self.rows[rank]:
            writer.sealer.seal(writer.journal, self.rows[rank])

    def close(self, rank: int) -> None:
        """End one process, as a recorder does; AssertionError where its mirror has not sent everything."""
        writer = self.writers.pop(rank)
        if writer.sealer.rows < self.rows[rank]:
            writer.sealer.seal(writer.journal, self.rows[rank])
        writer.close(complete=True)
        if rank in self.mirrors:
            unsent = self.mirrors[rank].close()
            assert not unsent, unsent

    def leave(self) -> None:
        """Let go of everything that is open, as a kill does: what is in the journals stays there."""
        for writer in self.writers.values():
            writer.after = None
            writer.close(complete=False)
        self.writers.clear()


def create(
    path: Path,
    *,
    joins: bool = False,
    overwrite: bool = False,
    mirror: str = "",
    shards: Shards = SHARDS,
) -> Ranks:
    """A new run of no rows; with ``joins``, what is sealed is joined, and sent, as by recorders."""
    paths = RunPaths(path)
    layout = layout_of(FRAME, BLOCK_STEPS, attributes={"config": {"seed": 1}}, shards=shards)
    lock = create_whole(
        paths, layout, token_count=None, annotations=Annotations(), overwrite=overwrite, sync=False
    )
    writers = {rank: _writer(paths, rank, shards, layout.id) for rank in shards.ranks}
    mirrors = {rank: Mirror(mirror, wait=30) for rank in writers} if mirror else {}
    for rank, writer in writers.items() if joins else ():
        _join(paths, layout, writer, shards, lock if rank == shards.lead else None, mirrors.get(rank))
    if not joins:
        lock.release()
    return Ranks(paths, layout, writers, dict.fromkeys(writers, 0), mirrors, shards)


def reopen(path: Path, shards: Shards = SHARDS, *, keep: int | None = None) -> Ranks:
    """A run that nobody records, to be recorded on in every process, from a step on or where each ends.

    What is sealed is not joined.
    """
    paths = RunPaths(path)
    writers = {
        rank: resume(paths.rank(rank), shards.frame(rank, FRAME), rewind_to=keep, sync=False).writer
        for rank in shards.ranks
    }
    rows = {rank: writer.sealer.rows for rank, writer in writers.items()}
    return Ranks(paths, Run(path).layout, writers, rows, {}, shards)


def _writer(paths: RunPaths, rank: int, shards: Shards, whole: str) -> RunWriter:
    frame = shards.frame(rank, FRAME)
    cells = {name: list(shards.cell(name, FRAME.by_name[name].shape)) for name in frame.by_name}
    layout = Layout.new(
        frame,
        block_steps=BLOCK_STEPS,
        store="both",
        zarr_dtype="float32",
        has_token_count=False,
        attributes={},
        part={"rank": rank, "host": f"node{rank}", "of": whole, "cells": cells},
    )
    return StagedRun(paths.rank(rank), layout, slots=2 * BLOCK_STEPS).publish()


def _join(
    paths: RunPaths,
    layout: Layout,
    writer: RunWriter,
    shards: Shards,
    lock: WriterLock | None,
    mirror: Mirror | None,
) -> None:
    whole = Whole(paths, layout, shards, lock=lock, sync=False)
    writer.sealer.sinks.append(whole)
    writer.after = whole.leave
    if mirror is not None:
        whole.send_with(mirror)
