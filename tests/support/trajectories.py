"""Runs that hold a given trajectory, and trajectories of which everything is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.experiment.config import ExperimentConfig
from embevo.run.format.effort import AskedEffort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout
from embevo.run.format.token_subset import TokenSubset
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.writing.effort_choice import EffortChoice
from embevo.run.writing.local_sink import create_run
from embevo.run.writing.sealing import Sealer


def experiment(**settings: Any) -> dict[str, Any]:
    """The configuration of a run of the experiment, which is judged by its predictions."""
    return {**ExperimentConfig().to_mapping(), **settings}


def record(
    path: Path,
    values: NDArray[Any],
    *,
    steps: Sequence[int] | None = None,
    dead: Sequence[int] | None = None,
    config: Mapping[str, Any] | None = None,
    store: str = "zarr",
    zarr_dtype: str = "float32",
    block_steps: int = 64,
    close: bool = True,
    matrix: str = "embeddings",
    tokens: TokenSubset | None = None,
    effort: AskedEffort = "small",
    losses: Sequence[float] | None = None,
    **attributes: Any,
) -> Path:
    """A complete run of ``(step, token, dim)`` values, losses 4 - 0.001 step or others, a falling rate.

    Token i occurs i + 1 times, and a dead one never; without ``dead`` the counts are not known.
    """
    rows, count, dim = values.shape
    numbers = range(rows) if steps is None else steps
    counts = None
    if dead is not None:
        counts = np.arange(1, count + 1)
        counts[list(dead)] = 0
    path.mkdir(parents=True, exist_ok=True)
    paths = RunPaths(path)
    frame = FrameSpec.of(
        {matrix: (values.dtype.name, (count, dim))}, ("loss", "learning_rate"), tokens=tokens
    )
    layout = Layout.new(
        frame,
        block_steps=block_steps,
        store=store,
        zarr_dtype=zarr_dtype,
        has_token_count=counts is not None,
        attributes={
            "config": dict(config or {}),
            "corpus": {"name": "made", "sha256": "00"},
            **attributes,
        },
    )
    journal = Journal.create(paths.journal, frame, 2 * block_steps)
    sealer = Sealer(paths, layout, create_run(paths, layout, counts, sync=False), rows=0, sync=False)
    sealer.effort = EffortChoice(effort)
    for row, step in enumerate(numbers):
        journal.begin(row)
        journal.payload(row, matrix)[:] = np.ascontiguousarray(values[row]).tobytes()
        loss = 4 - 0.001 * step if losses is None else losses[row]
        journal.commit(row, step, (loss, 1e-3 * (1 - row / rows)), seal=True)
        if store != "zarr":
            sealer.snapshot(journal, row)
        if (row + 1) % block_steps == 0 or (row + 1 == rows and close):
            sealer.seal(journal, row + 1)
    journal.close()
    if close:
        paths.journal.unlink()
    return path


def brownian(rows: int, tokens: int, dim: int, seed: int = 0, scale: float = 0.01) -> NDArray[np.float64]:
    """Independent Gaussian increments."""
    return np.random.default_rng(seed).normal(size=(rows, tokens, dim)).cumsum(axis=0) * scale


def ballistic(rows: int, tokens: int, dim: int, seed: int = 0) -> NDArray[np.float64]:
    """Each token moves at a velocity of its own, a multiple of 2^-10, from zero: exact in float32."""
    velocity = np.random.default_rng(seed).integers(-8, 9, (1, tokens, dim)) / 1024
    return np.arange(rows)[:, None, None] * velocity
