"""import_snapshots(): a folder of per-step safetensors files becomes a run."""

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from embevo.errors import (
    ArgumentError,
    EmbevoError,
    FrameMismatchError,
    NotARunError,
    NotSafetensorsError,
)
from embevo.run.exchange.carrying import said_beside, said_of
from embevo.run.format.chosen_rows import ChosenRows
from embevo.run.format.dtypes import SAFETENSORS_CODES
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for
from embevo.run.format.safetensors_header import TensorEntry, read_described_header, read_header
from embevo.run.format.steps import to_ranges
from embevo.run.format.token_names import Annotations
from embevo.run.format.token_subset import TokenSubset
from embevo.run.journal.ring import Journal
from embevo.run.paths import PathLike, RunPaths, absolute
from embevo.run.reading.reader import Run, open_run
from embevo.run.writing.run_writer import RunWriter

# Any number of digits: other programs pad otherwise than we do.
_STEP_FILE: Final = re.compile(r"step_([0-9]+)\.safetensors")
_MAX_STEP: Final = 2**63 - 1
_PACKAGES: Final = ("embevo", "zarr", "numpy")


@dataclass(frozen=True)
class SnapshotFolder:
    """A folder of files that agree with each other, checked and ready to be imported.

    Attributes:
        path: the folder.
        files: the file of each step, steps ascending.
        keys: tensor name in the files to array name in the run.
        frame: what each step records.
        left_out: tensors of the first file that are not imported.
        said: what is said of the tokens, in the folder's ``tokens.json`` or in the run whose files these are.
        not_said: why something that is said of tokens there is not taken; empty if all is.
        tokens_from: who says which tokens the rows are; empty if nobody does, and they are taken for all.
    """

    path: Path
    files: dict[int, Path]
    keys: dict[str, str]
    frame: FrameSpec
    left_out: list[str] = field(default_factory=list)
    said: Annotations = field(default_factory=Annotations)
    not_said: str = ""
    tokens_from: str = ""


def inspect_folder(
    path: PathLike, keys: Mapping[str, str] | None = None, *, tokens: TokenSubset | None = None
) -> SnapshotFolder:
    """Read the headers of all files, and what is said of their tokens, and nothing else.

    Which tokens the rows are is what the files say of themselves, as those that embevo exports do, or the
    run whose files they are; or else what is given. Where nobody says it, they are all of the vocabulary.

    Args:
        path: folder with ``step_<number>.safetensors``; other files in it are left alone.
        keys: which tensors to take, and the array of the run that each becomes; by default ``embeddings``.
        tokens: which tokens the rows are, of files that do not say it.

    Raises:
        FrameMismatchError: there is no such file, or one lacks a tensor, or has another shape, dtype or other
            tokens than the first; or the tokens given are not as many as the rows, or not what the files say.
        NotSafetensorsError: a file is damaged or not safetensors.
        OSError: the folder or a file cannot be read.
    """
    folder = absolute(path)
    keys = dict(keys or {"embeddings": "embeddings"})
    if len(set(keys.values())) != len(keys):
        raise FrameMismatchError(f"each tensor needs an array of its own; got {keys}")
    files = _step_files(folder)
    first, *rest = files.values()
    header, metadata = read_described_header(first)
    rows = _rows(first, metadata)
    expected = {key: _tensor(first, header, key) for key in keys}
    dtypes = {code: dtype for dtype, code in SAFETENSORS_CODES.items()}
    matrices = {
        name: (dtypes.get(expected[key].dtype, expected[key].dtype), expected[key].shape)
        for key, name in keys.items()
    }
    for file in rest:
        other, metadata = read_described_header(file)
        if _rows(file, metadata) != rows:
            raise FrameMismatchError(
                f"{file} does not hold the same tokens as {first.name}, as their metadata say. A run keeps "
                "its tokens: import the others into runs of their own."
            )
        for key in keys:
            _check_same(file, key, _tensor(file, other, key), expected[key], first)
    origin = None if rows is not None else _run_of(folder, tokens)
    source = f"the metadata of {first}" if rows is not None else ""
    if origin is not None:
        rows, source = ChosenRows.of(origin.frame), f"the run {origin.path}"
    rows = rows or ChosenRows()
    dimensions = {name: rows.dimensions[key] for key, name in keys.items() if key in rows.dimensions}
    chosen = _tokens(rows, tokens, source)
    if dimensions and not any(axes[:1] == ("token",) for axes in dimensions.values()):
        chosen = None
    try:
        frame = FrameSpec.of(matrices, dimensions=dimensions, tokens=chosen)
        _check_number(tokens, frame)
    except FrameMismatchError as error:
        raise FrameMismatchError(f"{first}: {error}") from error
    ids = frame.token_ids
    said, not_said = Annotations(), ""
    if origin is not None and np.array_equal(ids, origin.frame.token_ids):
        said = said_of(origin, ids)
    elif len(ids):
        said, not_said = said_beside(folder, ids)
    left_out = sorted(header.keys() - keys.keys())
    if tokens is not None:
        source = source or "what was given"
    return SnapshotFolder(folder, files, keys, frame, left_out, said, not_said, source)


def _rows(file: Path, metadata: Mapping[str, Any]) -> ChosenRows | None:
    """What a file says of its tokens; None if nothing."""
    try:
        return ChosenRows.from_metadata(metadata)
    except ValueError as error:
        raise NotSafetensorsError(f"{file}: {error}") from error


def _run_of(folder: Path, tokens: TokenSubset | None) -> Run | None:
    """The run whose files these are; their headers do not say which tokens it records."""
    paths = RunPaths(folder.parent)
    if folder.resolve() != paths.snapshots:
        return None
    try:
        return open_run(paths.root)
    except NotARunError:
        return None
    except EmbevoError as error:
        if tokens is not None:
            return None
        raise FrameMismatchError(
            f"{folder} belongs to a run that cannot be opened, so that it is not known which tokens its "
            f"files hold: say it with --token-ids and --vocabulary. ({error})"
        ) from error


def _tokens(rows: ChosenRows, given: TokenSubset | None, source: str) -> TokenSubset | None:
    """Which tokens the rows are, as ``source`` says or as was given; None for all of the vocabulary."""
    if given is None:
        return rows.tokens
    chosen = given.all_or_some
    if source and rows.tokens != chosen:
        raise FrameMismatchError(
            f"{source} says which tokens these are, and they are not those given: leave --token-ids and "
            "--vocabulary out"
        )
    return chosen


def _check_number(given: TokenSubset | None, frame: FrameSpec) -> None:
    if given is not None and frame.token_count != len(given):
        raise FrameMismatchError(f"{len(given):,} tokens are given for {frame.token_count:,} rows")


def import_snapshots(
    folder: SnapshotFolder,
    out: PathLike,
    *,
    store: Store = "both",
    zarr_dtype: ZarrDtype = "float32",
    overwrite: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Write the files of a folder as a run, bit for bit; what was not recorded stays a gap.

    An import that is cut short leaves a run that says of itself that it is not complete: its journal is
    there, and its attribute ``imported`` names the steps that were to come.

    Args:
        folder: from :func:`inspect_folder`.
        out: directory of the run; it must not exist yet, or be empty.
        store: as the recorder's.
        zarr_dtype: as the recorder's.
        overwrite: delete the run that is there.
        on_step: called with each step that was taken in.

    Raises:
        RunExistsError: the directory holds something.
        RunInUseError: another process is writing the run.
        ArgumentError: the folder lies in the run.
        CreationError: the run cannot be created.
        FrameMismatchError: a file has changed since it was inspected.
        OSError: with the path, when a file cannot be read or the disk is full.
    """
    paths = RunPaths(out)
    frame = folder.frame
    block_steps = block_steps_for(frame, zarr_dtype)
    layout = Layout.new(
        frame,
        block_steps=block_steps,
        store=store,
        zarr_dtype=zarr_dtype,
        has_token_count=folder.said.token_count is not None,
        attributes=_attributes(folder),
    )
    if folder.path.resolve().is_relative_to(paths.root):
        raise ArgumentError(
            f"{folder.path} lies in {paths.root}, which is where the run shall go: name another directory"
        )
    run = RunWriter.create(paths, layout, slots=block_steps, overwrite=overwrite, said=folder.said)
    with run.filling("import"):
        for row, (step, file) in enumerate(folder.files.items()):
            _take_in(run.journal, row, step, file, folder)
            run.sealer.snapshot(run.journal, row)
            if (row + 1) % block_steps == 0 or row + 1 == len(folder.files):
                run.sealer.seal(run.journal, row + 1)
            if on_step is not None:
                on_step(step)


def _step_files(folder: Path) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _STEP_FILE.fullmatch(path.name)
        if match is None:
            if path.name.startswith("step_") and path.suffix == ".safetensors":
                raise FrameMismatchError(
                    f"{path} is not named step_<number>.safetensors: rename it, or move it away"
                )
            continue
        step = int(match[1])
        if step > _MAX_STEP:
            raise FrameMismatchError(f"{path}: step numbers go up to {_MAX_STEP}")
        if step in files:
            raise FrameMismatchError(f"{files[step]} and {path} are both step {step}: move one away")
        files[step] = path
    if not files:
        inside = RunPaths(folder).snapshots
        hint = f" Did you mean {inside}?" if inside.is_dir() else ""
        raise FrameMismatchError(f"{folder} holds no files named step_<number>.safetensors.{hint}")
    return dict(sorted(files.items()))


def _tensor(path: Path, header: Mapping[str, TensorEntry], key: str) -> TensorEntry:
    if key not in header:
        raise FrameMismatchError(
            f"{path} has no tensor {key!r}; it has {', '.join(sorted(header)) or 'none'}: choose with --key"
        )
    return header[key]


def _check_same(path: Path, key: str, found: TensorEntry, expected: TensorEntry, first: Path) -> None:
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        raise FrameMismatchError(
            f"{path}: {key} is {found.dtype} {found.shape}; in {first.name} it is {expected.dtype} "
            f"{expected.shape}. A run keeps one shape and dtype: import the others into runs of their own."
        )


def _take_in(journal: Journal, row: int, step: int, file: Path, folder: SnapshotFolder) -> None:
    """Copy the tensors of a file straight into the slot of a row, and commit it."""
    header = read_header(file)
    journal.begin(row)
    with file.open("rb") as opened:
        for key, name in folder.keys.items():
            entry = _tensor(file, header, key)
            spec = folder.frame.by_name[name]
            expected = (SAFETENSORS_CODES[spec.dtype], spec.shape)
            if (entry.dtype, entry.shape) != expected:
                raise FrameMismatchError(f"{file} has changed while it was imported: {key} is {entry}")
            opened.seek(entry.start)
            with journal.payload(row, name) as payload:
                if opened.readinto(payload) != entry.nbytes:
                    raise FrameMismatchError(f"{file} was cut short while it was imported")
    journal.commit(row, step, (), seal=True)


def _attributes(folder: SnapshotFolder) -> dict[str, Any]:
    return {
        "imported": {
            "folder": folder.path.resolve().name,
            "keys": folder.keys,
            "steps": to_ranges(folder.files),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
    }
