"""import_snapshots(): a folder of per-step safetensors files becomes a run."""

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from embevo.errors import ArgumentError, FrameMismatchError
from embevo.run.format.dtypes import SAFETENSORS_CODES
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for
from embevo.run.format.safetensors_header import TensorEntry, read_header
from embevo.run.format.steps import to_ranges
from embevo.run.journal.ring import Journal
from embevo.run.paths import PathLike, RunPaths, absolute
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
    """

    path: Path
    files: dict[int, Path]
    keys: dict[str, str]
    frame: FrameSpec
    left_out: list[str] = field(default_factory=list)


def inspect_folder(path: PathLike, keys: Mapping[str, str] | None = None) -> SnapshotFolder:
    """Read the headers of all files, and nothing else.

    Args:
        path: folder with ``step_<number>.safetensors``; other files in it are left alone.
        keys: which tensors to take, and the array of the run that each becomes; by default ``embeddings``.

    Raises:
        FrameMismatchError: there is no such file, or one lacks a tensor, or has another shape or dtype than
            the first.
        NotSafetensorsError: a file is damaged or not safetensors.
        OSError: the folder or a file cannot be read.
    """
    folder = absolute(path)
    keys = dict(keys or {"embeddings": "embeddings"})
    if len(set(keys.values())) != len(keys):
        raise FrameMismatchError(f"each tensor needs an array of its own; got {keys}")
    files = _step_files(folder)
    first, *rest = files.values()
    header = read_header(first)
    expected = {key: _tensor(first, header, key) for key in keys}
    dtypes = {code: dtype for dtype, code in SAFETENSORS_CODES.items()}
    matrices = {
        name: (dtypes.get(expected[key].dtype, expected[key].dtype), expected[key].shape)
        for key, name in keys.items()
    }
    try:
        frame = FrameSpec.of(matrices)
    except FrameMismatchError as error:
        raise FrameMismatchError(f"{first}: {error}") from error
    for file in rest:
        other = read_header(file)
        for key in keys:
            _check_same(file, key, _tensor(file, other, key), expected[key], first)
    return SnapshotFolder(folder, files, keys, frame, sorted(header.keys() - keys.keys()))


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
        has_token_count=False,
        attributes=_attributes(folder),
    )
    if folder.path.resolve().is_relative_to(paths.root):
        raise ArgumentError(
            f"{folder.path} lies in {paths.root}, which is where the run shall go: name another directory"
        )
    run = RunWriter.create(paths, layout, slots=block_steps, overwrite=overwrite)
    complete = False
    try:
        for row, (step, file) in enumerate(folder.files.items()):
            _take_in(run.journal, row, step, file, folder)
            run.sealer.snapshot(run.journal, row)
            if (row + 1) % block_steps == 0 or row + 1 == len(folder.files):
                run.sealer.seal(run.journal, row + 1)
            if on_step is not None:
                on_step(step)
        complete = True
    except BaseException as error:
        error.add_note(f"{paths.root} holds an unfinished import: repeat it with overwrite.")
        raise
    finally:
        run.close(complete=complete)


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
