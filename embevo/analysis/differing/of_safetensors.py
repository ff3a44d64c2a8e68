"""Safetensors files as one of two recordings: one for each step, a single one, or a checkpoint's."""

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.differing.side import Recorded, Rows, Side
from embevo.errors import AnalysisError, FrameMismatchError, NotSafetensorsError
from embevo.run.checkpoint_files import STATE, checkpoint_steps, read_checkpoint
from embevo.run.disk.regular_file import open_regular
from embevo.run.format.chosen_rows import ChosenRows
from embevo.run.format.dtypes import NUMPY_DTYPES, SAFETENSORS_CODES
from embevo.run.format.safetensors_header import TensorEntry, read_described_header, read_header

_STEP: Final = re.compile(r"step_([0-9]+)\.safetensors")
_DTYPES: Final = {code: NUMPY_DTYPES[name] for name, code in SAFETENSORS_CODES.items()}
# The parameters among the tensors of a checkpoint, which has the optimizer's state and others beside them.
_WEIGHTS: Final = "model."


def step_files(folder: Path) -> dict[int, Path]:
    """The files ``step_<number>.safetensors`` of a folder by step, ascending.

    Raises:
        FrameMismatchError: two of them are of one step.
        OSError: the folder cannot be read.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _STEP.fullmatch(path.name)
        if match is None:
            continue
        if int(match[1]) in found:
            raise FrameMismatchError(
                f"{found[int(match[1])]} and {path} are both step {int(match[1])}: move one away"
            )
        found[int(match[1])] = path
    return dict(sorted(found.items()))


def side_of_files(path: Path, files: Mapping[int, Path], *, is_state: bool = False) -> Side:
    """Files of one step each, which hold the same tensors as the first; others of its dtypes are left out.

    Raises:
        NotSafetensorsError: the first is damaged, or not safetensors.
        OSError: it cannot be read.
    """
    first = next(iter(files.values()))
    header, metadata = read_described_header(first)
    try:
        rows = ChosenRows.from_metadata(metadata) or ChosenRows()
    except ValueError as error:
        raise NotSafetensorsError(f"{first}: {error}") from error
    paths = tuple(files.values())
    arrays = {}
    for name, entry in sorted(header.items()):
        if entry.dtype not in _DTYPES:
            continue
        dtype = _DTYPES[entry.dtype]
        of_tokens = rows.tokens is not None and rows.dimensions.get(name, ())[:1] == ("token",)
        arrays[name] = Recorded(
            dtype=dtype,
            stored=dtype,
            shape=entry.shape,
            read=partial(_read, paths, name, entry),
            dimensions=rows.dimensions.get(name, ()),
            tokens=rows.tokens.ids if rows.tokens is not None and of_tokens else None,
            vocabulary=rows.tokens.vocabulary if rows.tokens is not None and of_tokens else 0,
        )
    kind = "safetensors file" if is_state else f"folder of {len(files):,} safetensors files"
    main = "embeddings" if "embeddings" in arrays else next(iter(arrays), "")
    return Side(str(path), kind, np.array(list(files), np.int64), arrays, is_state=is_state, main=main)


def side_of_file(path: Path) -> Side:
    """One file, as a state; the step that its name tells is kept."""
    match = _STEP.fullmatch(path.name)
    return side_of_files(path, {int(match[1]) if match else 0: path}, is_state=True)


def side_of_checkpoint(root: Path, checkpoints: Path) -> Side:
    """The weights in the last checkpoint of a run, or in the whole one before it where that is damaged.

    Raises:
        AnalysisError: there is no checkpoint.
        DamagedError: it is not what was written.
    """
    steps = checkpoint_steps(checkpoints)
    if not steps:
        raise AnalysisError(f"{root} has no checkpoint: leave --checkpoints out, or name runs that have some")
    place = checkpoints / f"step_{steps[-1]:07d}"
    # Every byte is compared with what was written before one of them is believed.
    read_checkpoint(place)
    side = side_of_files(root, {steps[-1]: place / STATE}, is_state=True)
    weights = {
        name.removeprefix(_WEIGHTS): array for name, array in side.arrays.items() if name.startswith(_WEIGHTS)
    }
    return Side(
        path=str(root),
        kind=f"checkpoint of step {steps[-1]:,}",
        steps=side.steps,
        arrays=weights or side.arrays,
        is_state=True,
        main=next(iter(weights or side.arrays), ""),
    )


def _read(
    paths: tuple[Path, ...],
    name: str,
    expected: TensorEntry,
    rows: Rows,
    tokens: NDArray[np.int64] | None,
) -> NDArray[Any]:
    dtype = _DTYPES[expected.dtype]
    wanted = np.arange(len(paths))[rows].tolist()
    values = np.empty((len(wanted), *expected.shape), dtype)
    for place, row in enumerate(wanted):
        path = paths[row]
        entry = read_header(path).get(name)
        if entry is None or (entry.dtype, entry.shape) != (expected.dtype, expected.shape):
            found = "is missing" if entry is None else f"is {entry.dtype} {entry.shape}"
            raise FrameMismatchError(
                f"{path}: {name} {found}; in {paths[0].name} it is {expected.dtype} {expected.shape}"
            )
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(entry.start)
            into = values[place : place + 1].view(np.uint8).reshape(-1)
            if file.readinto(into.data) != entry.nbytes:
                raise NotSafetensorsError(f"{path} was cut short while it was read")
    return values if tokens is None else values[:, tokens]
