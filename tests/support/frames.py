"""Frames of any arrays, and values for them that say where they belong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from embevo.run.format.array_spec import ArraySpec
from embevo.run.format.dtypes import NUMPY_DTYPES
from embevo.run.format.effort import AskedEffort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Store, ZarrDtype
from embevo.run.format.token_subset import TokenSubset
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.writing.effort_choice import EffortChoice
from embevo.run.writing.run_writer import StagedRun
from support.layouts import layout_of

DTYPES = sorted(NUMPY_DTYPES)
NAMES = ["embeddings", "embeddings.grad", "h.0.attn", "exp_avg_sq", "mask"]


def values(spec: ArraySpec, name: str, step: int) -> NDArray[Any]:
    """What an array holds at a step: any bit pattern of its dtype, the same for the same name and step."""
    rng = np.random.default_rng([step, *name.encode()])
    if spec.dtype == "bool":
        return rng.integers(0, 2, spec.shape).astype(bool)
    return np.frombuffer(rng.bytes(spec.nbytes), spec.numpy_dtype).reshape(spec.shape)


def put(journal: Journal, row: int, step: int) -> None:
    """Commit the values of a step as a row."""
    journal.begin(row)
    for name, spec in journal.frame.arrays:
        journal.payload(row, name)[:] = values(spec, name, step).tobytes()
    journal.commit(row, step, (0.5,) * len(journal.frame.scalars), seal=True)


def write_run(
    path: Path,
    frame: FrameSpec,
    rows: int,
    *,
    block_steps: int = 4,
    store: Store = "both",
    zarr_dtype: ZarrDtype = "float32",
    every: int = 1,
    token_count: NDArray[np.int64] | None = None,
) -> Path:
    """A run of the values of a frame at steps 0, every, ..., closed."""
    counted = token_count is not None
    layout = layout_of(frame, block_steps, store=store, zarr_dtype=zarr_dtype, counted=counted)
    slots = 2 * block_steps
    run = StagedRun(RunPaths(path), layout, slots=slots, token_count=token_count).publish()
    for row in range(rows):
        put(run.journal, row, row * every)
        run.sealer.snapshot(run.journal, row)
        if row + 1 == rows or (row + 1) % block_steps == 0:
            run.sealer.seal(run.journal, row + 1)
    run.close(complete=True)
    return path


def write_arrays(
    path: Path, frame: FrameSpec, arrays: Mapping[str, NDArray[Any]], efforts: Sequence[AskedEffort]
) -> Path:
    """A run of the given values of each array along ``step``, in as many blocks as there are efforts."""
    rows = len(next(iter(arrays.values())))
    block_steps = rows // len(efforts)
    layout = layout_of(frame, block_steps)
    run = StagedRun(RunPaths(path), layout, slots=block_steps, token_count=None).publish()
    for row in range(rows):
        run.journal.begin(row)
        for name, values in arrays.items():
            run.journal.payload(row, name)[:] = values[row].tobytes()
        run.journal.commit(row, row, (0.5,) * len(frame.scalars), seal=True)
        if (row + 1) % block_steps == 0:
            run.sealer.effort = EffortChoice(efforts[row // block_steps])
            run.sealer.seal(run.journal, row + 1)
    run.close(complete=True)
    return path


@st.composite
def frames(draw: st.DrawFn) -> FrameSpec:
    """One to four arrays of one to three axes; some along the tokens, of all or of some."""
    tokens, dim = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    arrays, dimensions = {}, {}
    for name in names:
        axes = draw(st.integers(1, 3))
        along = draw(st.booleans())
        shape = [tokens if along else draw(st.integers(1, 4)), dim, draw(st.integers(1, 3))][:axes]
        own = [f"{name}_{axis}" for axis in range(axes)]
        arrays[name] = (draw(st.sampled_from(DTYPES)), tuple(shape))
        dimensions[name] = ["token" if along else own[0], "dim", own[-1]][:axes]
    subset = None
    if draw(st.booleans()):
        ids = draw(st.lists(st.integers(0, 50), min_size=tokens, max_size=tokens, unique=True))
        subset = TokenSubset.of(sorted(ids), 51)
    return FrameSpec.of(arrays, ("loss",), dimensions=dimensions, tokens=subset)
