"""A run as one of two recordings that are compared."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.differing.side import Recorded, Rows, Side
from embevo.run.reading.reader import Run


def side_of_run(run: Run) -> Side:
    """All arrays and scalars of a run, and what it says of itself; nothing is read yet."""
    frame = run.frame
    ids = frame.token_ids
    vocabulary = len(ids) if frame.tokens is None else frame.tokens.vocabulary
    arrays = {}
    for name, spec in frame.arrays:
        of_tokens = spec.dimensions[0] == "token"
        arrays[name] = Recorded(
            dtype=spec.numpy_dtype,
            stored=run[name].dtype,
            shape=spec.shape,
            read=partial(_read, run, name),
            dimensions=spec.dimensions,
            tokens=ids if of_tokens else None,
            vocabulary=vocabulary if of_tokens else 0,
        )
    number = np.dtype(np.float64)
    for name in frame.scalars:
        arrays[name] = Recorded(number, number, (), partial(_read, run, name))
    said = {name: value for name, value in run.attributes.items() if name != "embevo"}
    names = run.token_names
    return Side(
        path=run.url or str(run.path),
        kind="run",
        steps=run.steps,
        arrays=arrays,
        block_rows=run.layout.block_steps,
        settings=said,
        labels={} if names.strings is None else dict(zip(ids.tolist(), names.labels, strict=True)),
        main=frame.main,
    )


def _read(run: Run, name: str, rows: Rows, tokens: NDArray[np.int64] | None) -> NDArray[Any]:
    return run[name][rows] if tokens is None else run[name][rows, tokens]
