"""Runs of any steps, as the pieces of a training that was interrupted or shared out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout
from embevo.run.paths import RunPaths
from embevo.run.writing.run_writer import StagedRun
from support import written


def write_piece(
    path: Path,
    steps: Sequence[int],
    *,
    frame: FrameSpec | None = None,
    seed: int = 0,
    attributes: dict[str, Any] | None = None,
    token_count: NDArray[np.int64] | None = None,
    killed: bool = False,
    block_steps: int = 4,
    **layout: Any,
) -> Path:
    """A run of encoded matrices at these steps; one that was killed has its last rows in the journal."""
    frame = frame or written.frame_of()
    options: dict[str, Any] = {"store": "both", "zarr_dtype": "float32", **layout}
    made = Layout.new(
        frame,
        block_steps=block_steps,
        has_token_count=token_count is not None,
        attributes=attributes or {},
        **options,
    )
    writer = StagedRun(RunPaths(path), made, slots=2 * block_steps, token_count=token_count).publish()
    for row, step in enumerate(steps):
        written.put(writer.journal, row, step, seed=seed)
        writer.sealer.snapshot(writer.journal, row)
        if (row + 1) % block_steps == 0 or (row + 1 == len(steps) and not killed):
            writer.sealer.seal(writer.journal, row + 1)
    writer.close(complete=not killed)
    return path
