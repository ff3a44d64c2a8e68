"""summarize(): what there is to know of a run at a glance, and find_runs(): the runs below a folder."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from embevo.errors import DamagedError, EmbevoError
from embevo.run.checkpoint_files import checkpoint_steps, is_kept
from embevo.run.disk.litter import is_litter
from embevo.run.disk.lock import Owner, writer_of
from embevo.run.disk.regular_file import open_regular
from embevo.run.format.array_spec import ArraySpec
from embevo.run.format.effort import EFFORTS, FRAME_HEAD, Effort, effort_of
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.format.steps import count, gaps
from embevo.run.journal.place import is_interrupted
from embevo.run.paths import PathLike, RunPaths, absolute
from embevo.run.reading.reader import Run

State = Literal["complete", "recording", "interrupted", "unknown"]
_MARK_BYTES: Final = 1 << 16
# Of a run: looking at one takes about 20 us.
_BLOCKS_LOOKED_AT: Final = 500


@dataclass(frozen=True)
class MatrixSummary:
    """One recorded matrix.

    Attributes:
        name: of its array.
        dtype: the model's: what was recorded, and what an export gives back.
        shape: at one step.
        dimensions: names of these axes.
        stored_dtype: of the Zarr array; None where the run keeps safetensors files only.
        shard: elements of one file along ``step`` and these axes; None likewise.
        chunk: elements along the same that are compressed together; None likewise.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dimensions: tuple[str, ...]
    stored_dtype: str | None
    shard: tuple[int, ...] | None
    chunk: tuple[int, ...] | None


@dataclass(frozen=True)
class TokenSummary:
    """What the corpus did with the vocabulary.

    Attributes:
        live: number of token ids that occur in the corpus.
        dead: ids that never occur, ascending.
        dead_labels: a printable name for each of them: its text where the run knows what its tokens are, else
            its id.
    """

    live: int
    dead: list[int]
    dead_labels: list[str]


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance; everything in it is plain JSON once it went through :meth:`to_json`.

    Attributes:
        path: the run directory.
        state: ``complete``; ``recording``, while a process writes it; ``interrupted``, when its writer died
            and left rows in the journal; or ``unknown``, where the file system has no locks and this machine
            cannot tell whether the writer lives.
        writer: the process that writes it, or may write it, as "process 123 on host"; None if there is none.
        rows: steps that can be read.
        journal_rows: how many of them are in the journal only.
        unproven_rows: how many more steps are in the journal, and proven only on the machine that captured
            them.
        journal_elsewhere: where the journal lies that cannot be read here, and may hold more steps; empty if
            none can be missing.
        first_step: global step of the first row; None if there is no row.
        last_step: global step of the last row; None likewise.
        gaps: steps missing in between, as ``[first, last, stride]``.
        missing: their number.
        shape: of the main array, ``(step, token, dim)`` where it is a matrix of tokens.
        dimensions: names of its axes.
        matrices: what was recorded at each step, the main array first.
        scalars: names of the numbers recorded beside the matrices.
        store: ``both``, ``zarr`` or ``safetensors``.
        block_steps: steps that are sealed together.
        compacted_rows: how many rows are in blocks that were compacted since.
        bytes: size of each part on disk.
        image_bytes: size of one step's safetensors file.
        checkpoints: steps of the checkpoints of ``embevo train``, ascending.
        kept_checkpoints: those of them that later ones do not replace.
        ratio: bytes of the sealed steps as safetensors files over those of the Zarr group; None where the
            group has no matrices.
        config: what the recorder was given as configuration.
        corpus: what is known of the corpus.
        versions: of the software that recorded the run.
        attributes: what else the recorder was given to keep with the run.
        tokens: live and dead ones among the recorded tokens; None where they were not counted.
        vocabulary: how many tokens there are in all.
        recorded: how many of them are recorded.
        named: how many of those have a string.
        groups: groups of the user's own, and how many recorded tokens are in each.
        efforts: share of the blocks whose matrices were compressed with each effort; of some, spread evenly,
            where there are many. Empty where the group has no matrices.
    """

    path: str
    state: State
    writer: str | None
    rows: int
    journal_rows: int
    unproven_rows: int
    journal_elsewhere: str
    first_step: int | None
    last_step: int | None
    gaps: list[list[int]]
    missing: int
    shape: tuple[int, ...]
    dimensions: tuple[str, ...]
    matrices: list[MatrixSummary]
    scalars: list[str]
    store: str
    block_steps: int
    compacted_rows: int
    bytes: dict[str, int]
    image_bytes: int
    checkpoints: list[int]
    kept_checkpoints: list[int]
    ratio: float | None
    config: dict[str, Any]
    corpus: dict[str, Any]
    versions: dict[str, Any]
    attributes: dict[str, Any]
    tokens: TokenSummary | None
    vocabulary: int
    recorded: int
    named: int
    groups: dict[str, int]
    efforts: dict[Effort, float]

    @property
    def total_bytes(self) -> int:
        """Size of the whole run on disk."""
        return sum(self.bytes.values())

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON values."""
        return {**asdict(self), "total_bytes": self.total_bytes}


@dataclass(frozen=True)
class BrokenRun:
    """A directory that holds parts of a run and cannot be opened as one.

    Attributes:
        path: the directory.
        reason: why not.
    """

    path: str
    reason: str


def summarize(path: PathLike) -> RunSummary:
    """Look at a run, also while it is being written.

    Raises:
        NotARunError: the path is not a run, or a run of a newer format.
        DamagedError: metadata, manifest or journal are not what was written.
    """
    paths = RunPaths(path)
    # The lock is looked at first: a run that is closed between the looks was being written, not interrupted.
    writer = writer_of(paths.lock)
    run = Run(paths.root)
    has_journal = is_interrupted(paths) or paths.unjoined.exists()
    steps = run.steps.tolist()
    schedule = run.layout.schedule
    missing = gaps(steps) if schedule is None or not steps else schedule.missing(steps, steps[0], steps[-1])
    sizes = _sizes(paths)
    checkpoints = checkpoint_steps(paths.checkpoints)
    known = {"embevo", "config", "corpus", "versions"}
    in_zarr = run.store != "safetensors"
    return RunSummary(
        path=str(absolute(path)),
        state=_state(writer, has_journal=has_journal),
        writer=None if writer is None else writer.name,
        rows=len(steps),
        journal_rows=len(steps) - run.sealed_rows,
        unproven_rows=len(run.unproven_steps),
        journal_elsewhere=run.journal_elsewhere,
        first_step=steps[0] if steps else None,
        last_step=steps[-1] if steps else None,
        gaps=missing,
        missing=count(missing),
        shape=run.shape,
        dimensions=run[run.frame.main].dimensions,
        matrices=[
            _matrix(name, run.frame.by_name[name], run.layout.arrays.get(name))
            for name in sorted(run.frame.by_name, key=lambda name: name != run.frame.main)
        ],
        scalars=list(run.frame.scalars),
        store=run.store,
        block_steps=run.layout.block_steps,
        compacted_rows=run.compacted_rows,
        bytes=sizes,
        image_bytes=run.frame.image_bytes,
        checkpoints=checkpoints,
        kept_checkpoints=[step for step in checkpoints if is_kept(paths.checkpoints, step)],
        ratio=run.sealed_rows * run.frame.image_bytes / sizes["trajectory.zarr"]
        if in_zarr and run.sealed_rows
        else None,
        config=run.config,
        corpus=run.corpus,
        versions=run.versions,
        attributes={name: value for name, value in run.attributes.items() if name not in known},
        tokens=_tokens(run),
        vocabulary=run.frame.token_count if run.frame.tokens is None else run.frame.tokens.vocabulary,
        recorded=run.frame.token_count,
        named=sum(text is not None for text in run.annotations.strings or ()),
        groups={name: len(ids) for name, ids in run.groups.items()},
        efforts=_efforts(paths, run),
    )


def find_runs(folder: PathLike, *, depth: int) -> Iterator[RunSummary | BrokenRun]:
    """The runs in a folder and in those below it, by name; other directories are passed over.

    Args:
        folder: where to look; it may be a run itself.
        depth: how many levels of directories below the folder are looked at.

    Raises:
        OSError: the folder itself cannot be read.
    """
    root = absolute(folder)
    if _has_parts_of_run(root):
        try:
            yield summarize(root)
        except EmbevoError as error:
            yield BrokenRun(str(root), str(error))
        except OSError as error:
            yield BrokenRun(str(root), f"{error.filename}: {error.strerror}")
        return
    children = sorted(root.iterdir())
    for child in children if depth > 0 else []:
        # A run that was never finished is none. Links are not followed: they may lead in circles.
        if child == RunPaths(root).staged or is_litter(child.name):
            continue
        if child.is_dir() and not child.is_symlink() and os.access(child, os.R_OK | os.X_OK):
            yield from find_runs(child, depth=depth - 1)


def _state(writer: Owner | None, *, has_journal: bool) -> State:
    if writer is not None:
        return "recording" if writer.certain else "unknown"
    return "interrupted" if has_journal else "complete"


def _has_parts_of_run(path: Path) -> bool:
    """Whether one of its files bears embevo's mark; names alone would take other programs' files for ours."""
    paths = RunPaths(path)
    marks = (
        (paths.manifest, b'{"kind":"created"'),
        (paths.incoming / paths.manifest.name, b'{"kind":"created"'),
        (paths.journal, b"EMBEVO-J"),
        (paths.trajectory / GROUP_METADATA, b'"embevo"'),
    )
    for file, mark in marks:
        try:
            with file.open("rb") as opened:
                if mark in opened.read(_MARK_BYTES):
                    return True
        except OSError:
            continue
    return False


def _matrix(name: str, spec: ArraySpec, array: Mapping[str, Any] | None) -> MatrixSummary:
    recorded = (name, spec.dtype, spec.shape, spec.dimensions)
    if array is None:
        return MatrixSummary(*recorded, None, None, None)
    file = array["chunk_grid"]["configuration"]["chunk_shape"]
    first = array["codecs"][0]
    chunk = first["configuration"]["chunk_shape"] if first["name"] == "sharding_indexed" else file
    return MatrixSummary(*recorded, str(array["data_type"]), tuple(file), tuple(chunk))


def _efforts(paths: RunPaths, run: Run) -> dict[Effort, float]:
    """By the first bytes of the first file of each block's largest matrix."""
    names = run.layout.matrices
    if not names or not run.sealed_rows:
        return {}
    name = max(names, key=run.frame.nbytes)
    blocks = -(-run.sealed_rows // run.layout.block_steps)
    looked_at = np.unique(np.linspace(0, blocks - 1, min(blocks, _BLOCKS_LOOKED_AT)).astype(int))
    rest = ".0" * len(run.frame.by_name[name].shape)
    array = run.layout.arrays[name]
    halves = array["data_type"] == "float32" and run.frame.by_name[name].dtype == "bfloat16"
    found: list[Effort] = []
    for block in looked_at:
        # What is missing or damaged is not what a summary is for.
        with contextlib.suppress(OSError, DamagedError):
            descriptor = open_regular(paths.trajectory / name / f"c.{block}{rest}")
            with os.fdopen(descriptor, "rb") as file:
                effort = effort_of(file.read(FRAME_HEAD.size), array, halves=halves)
            if effort is not None:
                found.append(effort)
    return {effort: found.count(effort) / len(found) for effort in EFFORTS if effort in found}


def _tokens(run: Run) -> TokenSummary | None:
    tokens = run.tokens
    if tokens is None:
        return None
    labels = run.token_names.labels
    dead_labels = [labels[place] for place in np.flatnonzero(tokens.count == 0)]
    return TokenSummary(len(tokens.live), tokens.dead.tolist(), dead_labels)


def _sizes(paths: RunPaths) -> dict[str, int]:
    recorded = (
        paths.trajectory,
        paths.snapshots,
        paths.checkpoints,
        paths.journal,
        paths.tokens,
        paths.manifest,
    )
    parts = (*recorded, paths.analysis, paths.analysis_json, paths.viewer)
    sizes = {part.name: _size(part) for part in parts if part.exists()}
    if paths.ranks.exists():
        sizes[paths.ranks.name] = _size(paths.ranks, shared=False)
    return sizes


def _size(path: Path, *, shared: bool = True) -> int:
    """Bytes of a file, or of all files below a directory; what a writer removes meanwhile counts nothing.

    A file that has a second name is left out unless ``shared``: the whole run has those of its processes.
    """
    try:
        if not path.is_dir():
            status = path.stat()
            return status.st_size if shared or status.st_nlink == 1 else 0
        return sum(_size(child, shared=shared) for child in path.iterdir())
    except FileNotFoundError:
        return 0
