"""Exports: the steps of a run as the safetensors files that the model itself would have been saved to."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ExportError
from embevo.run.disk.atomic import PARTIAL, write_file
from embevo.run.exchange.carrying import TOKENS, said_of
from embevo.run.format.array_spec import ArraySpec
from embevo.run.format.chosen_rows import ChosenRows
from embevo.run.format.dtypes import SAFETENSORS_CODES
from embevo.run.format.frame import FrameSpec
from embevo.run.format.safetensors_header import pack_header
from embevo.run.format.steps import describe
from embevo.run.format.token_subset import TokenSubset
from embevo.run.paths import PathLike, absolute, snapshot_name
from embevo.run.reading.reader import Run

_SINGLE_NAME: Final = "steps_{first:07d}_{last:07d}.safetensors"


def select_steps(run: Run, chosen: slice) -> list[int]:
    """Rows whose *step numbers* a slice selects, as Python selects from ``range(last step + 1)``.

    So ``100:200`` are the recorded steps from 100 to 199, ``::10`` those whose number is a multiple of ten,
    and ``-50:`` those among the last fifty numbers. Steps that were not recorded are not there to select.

    Raises:
        ExportError: the slice goes backwards, or selects no recorded step.
    """
    steps = run.steps
    if not len(steps):
        raise ExportError(f"{run.path} has no steps yet")
    if chosen.step is not None and chosen.step < 1:
        raise ExportError(f"steps are exported in ascending order: the stride {chosen.step} must be positive")
    start, stop, stride = chosen.indices(int(steps[-1]) + 1)
    rows = np.flatnonzero((steps >= start) & (steps < stop) & ((steps - start) % stride == 0))
    if not len(rows):
        raise ExportError(
            f"{run.path} has no step in {start}..{stop - 1}{f' every {stride}' if stride > 1 else ''}; "
            f"it has {describe(steps.tolist())}"
        )
    return [int(row) for row in rows]


def export_snapshots(
    run: Run,
    out: PathLike,
    rows: Sequence[int],
    *,
    tokens: Sequence[int] | None = None,
    overwrite: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write one file a step, ``step_0000123.safetensors``, byte for byte what ``save_file`` would have.

    Where they hold a part of the vocabulary, their metadata say which tokens, so that an import does not
    take them for the first ones. What the run knows of its tokens, their texts, counts and groups, goes into
    ``tokens.json`` beside them.

    Args:
        run: where from; it may be in the middle of being recorded.
        out: folder of the files; it is made if need be.
        rows: which rows, ascending.
        tokens: which token ids, ascending; all of them if None.
        overwrite: replace files that are there.
        on_step: called with each step that was written.

    Returns:
        The files.

    Raises:
        ExportError: a file is there already, or the folder belongs to the run.
        DamagedError: stored bytes are not what was captured. The files before are whole.
        OSError: with the path, when the disk is full or not writable.
    """
    folder = absolute(out)
    files = [folder / snapshot_name(int(run.steps[row])) for row in rows]
    chosen = _Chosen.of(run, tokens)
    said = said_of(run, chosen.frame.token_ids)
    beside = folder / TOKENS
    data = b"" if said.is_empty else said.pack()
    _check_free(run, folder, files, overwrite=overwrite)
    _check_said(beside, data, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    if data:
        write_file(beside, data, sync=False)
    elif overwrite:
        # What it says would be taken for these files' tokens.
        beside.unlink(missing_ok=True)
    for file, (step, image) in zip(files, run.images(rows), strict=True):
        write_file(file, chosen.file(image), sync=False)
        if on_step is not None:
            on_step(step)
    return files


def export_stacked(
    run: Run,
    out: PathLike,
    rows: Sequence[int],
    *,
    tokens: Sequence[int] | None = None,
    overwrite: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Path:
    """Write all steps into one file: each matrix ``(step, token, dim)``, and ``step`` ``(step,)`` int64.

    Where it holds a part of the vocabulary, ``token`` ``(token,)`` int64 names the tokens. The file appears
    when it is whole; no more than a block of it is ever in memory.

    Args:
        run: where from; it may be in the middle of being recorded.
        out: folder of the file; it is made if need be.
        rows: which rows, ascending.
        tokens: which token ids, ascending; all of them if None.
        overwrite: replace the file that is there.
        on_step: called with each step that was written.

    Returns:
        The file.

    Raises:
        ExportError: the file is there already, or the folder belongs to the run.
        DamagedError: stored bytes are not what was captured; no file is left.
        OSError: with the path, when the disk is full or not writable; no file is left.
    """
    folder = absolute(out)
    steps = run.steps[list(rows)]
    path = folder / _SINGLE_NAME.format(first=int(steps[0]), last=int(steps[-1]))
    _check_free(run, folder, [path], overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    selected = _Chosen.of(run, tokens)
    frame = selected.frame
    vectors = {"step": steps}
    if frame.tokens is not None:
        vectors["token"] = frame.token_ids
    header = pack_header(
        {
            **{name: ("I64", vector.shape, vector.nbytes) for name, vector in vectors.items()},
            **{
                name: (SAFETENSORS_CODES[spec.dtype], (len(rows), *spec.shape), len(rows) * spec.nbytes)
                for name, spec in frame.arrays
            },
        }
    )
    starts: dict[str, int] = {}
    position = len(header) + sum(vector.nbytes for vector in vectors.values())
    for name, _ in frame.matrices:
        starts[name] = position
        position += len(rows) * frame.nbytes(name)
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(header)
            for vector in vectors.values():
                file.write(vector.tobytes())
            for index, (step, image) in enumerate(run.images(rows)):
                chosen = selected.arrays_of(image)
                for name, start in starts.items():
                    file.seek(start + index * frame.nbytes(name))
                    file.write(np.ascontiguousarray(chosen[name]).reshape(-1).view(np.uint8).data)
                if on_step is not None:
                    on_step(step)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return path


@dataclass(frozen=True)
class _Chosen:
    """What the files hold of a step.

    Attributes:
        whole: what the run records.
        frame: what the files hold.
        positions: ``(token,)`` which rows along ``token`` these are; None for all of them.
        header: of the file of a step.
    """

    whole: FrameSpec
    frame: FrameSpec
    positions: NDArray[np.int64] | None
    header: bytes

    @classmethod
    def of(cls, run: Run, tokens: Sequence[int] | None) -> Self:
        """All that a run records, or the rows of some token ids of its arrays along ``token``."""
        whole = run.frame
        ids = whole.token_ids
        if tokens is None or (len(ids) and np.array_equal(tokens, ids)):
            return cls(whole, whole, None, whole.header_with(ChosenRows.of(whole).metadata))
        outside = sorted(set(tokens) - set(ids.tolist()))
        if outside or not tokens:
            there = describe(ids.tolist()) if len(ids) else "none"
            raise ExportError(f"{run.path} has the token ids {there}; asked for {outside or 'none'}")
        vocabulary = len(ids) if whole.tokens is None else whole.tokens.vocabulary
        frame = FrameSpec.of(
            {
                name: (spec.dtype, (len(tokens), *spec.shape[1:]) if _has_tokens(spec) else spec.shape)
                for name, spec in whole.arrays
            },
            dimensions={name: spec.dimensions for name, spec in whole.arrays},
            tokens=TokenSubset.of(tokens, vocabulary),
        )
        positions = np.searchsorted(ids, np.array(tokens, np.int64))
        return cls(whole, frame, positions, frame.header_with(ChosenRows.of(frame).metadata))

    def arrays_of(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """What a file holds of a step, by name, from the image of the run."""
        arrays = {name: self.whole.matrix(image, name) for name, _ in self.whole.arrays}
        if self.positions is None:
            return arrays
        return {
            name: values[self.positions] if _has_tokens(self.whole.by_name[name]) else values
            for name, values in arrays.items()
        }

    def file(self, image: NDArray[np.uint8]) -> bytes:
        """The bytes of the file of a step, from the image of the run."""
        if self.positions is not None:
            image = self.frame.image(self.arrays_of(image))
        return self.header + image[len(self.frame.header) :].tobytes()


def _has_tokens(spec: ArraySpec) -> bool:
    return spec.dimensions[0] == "token"


def _check_free(run: Run, folder: Path, files: Sequence[Path], *, overwrite: bool) -> None:
    if folder.resolve().is_relative_to(run.path.resolve()):
        raise ExportError(f"{folder} belongs to the run itself: choose a folder outside {run.path}")
    taken = [] if overwrite else [file for file in files if file.exists()]
    if taken:
        raise ExportError(
            f"{len(taken):,} of the {len(files):,} files are there already, the first is {taken[0]}. "
            "Choose another folder, or ask to overwrite them."
        )


def _check_said(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Raise ExportError where what is said of tokens in a folder is not what would be said of these."""
    if overwrite or not path.exists():
        return
    if path.read_bytes() != data:
        raise ExportError(
            f"{path} says something else of its tokens than this run does of those exported. Choose another "
            "folder, or ask to overwrite it."
        )
