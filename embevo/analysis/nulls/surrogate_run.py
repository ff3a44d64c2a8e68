"""A surrogate as a run of its own, which every command takes, and which says of itself what it is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from embevo.analysis.nulls.kinds import Kind, surrogates_of
from embevo.analysis.nulls.surrogates import check_seed, drawing
from embevo.analysis.nulls.trajectory import Trajectory
from embevo.analysis.reading import matrix_of
from embevo.errors import ArgumentError
from embevo.run.exchange.carrying import said_of
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, block_steps_for
from embevo.run.format.provenance import SURROGATE
from embevo.run.format.settings import OPTIMIZER
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.reader import Run, open_run
from embevo.run.writing.run_writer import RunWriter

# What stays true of a surrogate; a loss does not.
_KEPT: Final = "learning_rate"


def write_surrogate(
    run: Run | PathLike,
    out: PathLike,
    kind: Kind,
    seed: int = 0,
    *,
    matrix: str | None = None,
    optimizer: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_rows: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the first surrogate of a seed as a run: the same steps, tokens, dtype and names of numbers.

    Of the recorded numbers the learning rates are kept, and all others are NaN. What is said of the tokens
    and the run's attributes are carried over; the attribute ``surrogate`` says what it is, and nothing judges
    it as if it were a training.

    Args:
        run: the run, or where it lies.
        out: directory of the new run; it must not exist yet, or be empty.
        kind: as for :func:`surrogates`.
        seed: likewise.
        matrix: which one; of ``adamw-noise`` the gradient and the moments are written, too, where the run
            records them.
        optimizer: as for :func:`surrogates`.
        overwrite: replace the run that is there.
        on_rows: called now and then with how many rows are written, of how many.

    Returns:
        The directory.

    Raises:
        ArgumentError: there is no such kind, or the runs lie in each other.
        AnalysisError: the run does not hold what the kind needs.
        RunExistsError: the directory holds something.
        CreationError: the run cannot be created.
        OSError: with the path, when the disk is full.
    """
    check_seed(seed)
    opened = run if isinstance(run, Run) else open_run(run)
    of = Trajectory(opened, matrix_of(opened, matrix))
    paths = RunPaths(out)
    if paths.root.is_relative_to(opened.path) or opened.path.is_relative_to(paths.root):
        raise ArgumentError(f"{opened.path} and {paths.root} lie in each other: name another directory")
    makes = surrogates_of(of, kind, optimizer)
    arrays = getattr(makes, "arrays", (of.name,))
    specs = opened.frame.by_name
    frame = FrameSpec.of(
        dict.fromkeys(arrays, (specs[of.name].dtype, specs[of.name].shape)),
        opened.frame.scalars,
        dimensions=dict.fromkeys(arrays, specs[of.name].dimensions),
        tokens=opened.frame.tokens,
    )
    zarr_dtype = opened.layout.attributes["embevo"]["zarr_dtype"]
    said = said_of(opened, frame.token_ids)
    block_steps = block_steps_for(frame, zarr_dtype)
    layout = Layout.new(
        frame,
        block_steps=block_steps,
        store="zarr",
        zarr_dtype=zarr_dtype,
        has_token_count=said.token_count is not None,
        attributes=_attributes(opened, of.name, kind, seed, getattr(makes, "settings", None)),
    )
    writer = RunWriter.create(paths, layout, slots=block_steps, overwrite=overwrite, said=said)
    with writer.filling("surrogate"):
        row = 0
        for block in makes.blocks(drawing(seed, 0)):
            row = _write(writer, opened, block, row, block_steps)
            if on_rows is not None:
                on_rows(row, of.shape[0])
    return paths.root


def _write(writer: RunWriter, run: Run, block: Mapping[str, Any], row: int, block_steps: int) -> int:
    """Take rows in from ``row`` on, and say which comes next."""
    rows = len(run.steps)
    count = len(next(iter(block.values())))
    scalars = np.full((count, len(run.frame.scalars)), np.nan)
    if _KEPT in run.frame.scalars:
        scalars[:, run.frame.scalars.index(_KEPT)] = run[_KEPT][row : row + count]
    for place in range(count):
        writer.journal.begin(row)
        for name, values in block.items():
            with writer.journal.payload(row, name) as payload:
                payload[:] = np.ascontiguousarray(values[place]).tobytes()
        writer.journal.commit(row, int(run.steps[row]), tuple(scalars[place].tolist()), seal=True)
        row += 1
        if row % block_steps == 0 or row == rows:
            writer.sealer.seal(writer.journal, row)
    return row


def _attributes(run: Run, matrix: str, kind: str, seed: int, settings: Any) -> dict[str, Any]:
    said = {name: value for name, value in run.attributes.items() if name not in ("embevo", OPTIMIZER)}
    surrogate = {"kind": kind, "seed": seed, "of": run.path.name, "matrix": matrix}
    optimizer = {}
    if settings is not None:
        fields = {**vars(settings), "betas": list(settings.betas), "class": settings.kind}
        del fields["kind"]
        optimizer = {OPTIMIZER: {matrix: fields}}
    return {**said, **optimizer, SURROGATE: surrogate}
