"""open_run(): the sealed blocks and the journal's tail as one view, also while the run is being written."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embevo.errors import (
    ArgumentError,
    DamagedError,
    NotARunError,
    RunReplacedError,
)
from embevo.run.cloud.address import is_url
from embevo.run.disk.checksum import Digest
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store
from embevo.run.format.steps import describe
from embevo.run.format.token_names import Annotations
from embevo.run.format.tokens import TokenNames, Tokens
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.annotations import read_annotations
from embevo.run.reading.brought import Brought
from embevo.run.reading.following import Following
from embevo.run.reading.identity import OpenedRun
from embevo.run.reading.recognising import check_is_run
from embevo.run.reading.rows import Rows
from embevo.run.reading.sealed import SealedRows, read_dtype
from embevo.run.reading.step_array import Position, StepArray

if TYPE_CHECKING:
    import xarray as xr


def open_run(path: PathLike) -> "Run":
    """Open a run for reading; it may be complete, interrupted, or being written by another process.

    Args:
        path: of the run directory, or the URL of a run in object storage, such as ``s3://bucket/prefix``: of
            that, the sealed rows that were sent are seen, and only the blocks that are read are fetched.

    Raises:
        NotARunError: the path is not a run, or a run of a newer format.
        DamagedError: metadata, manifest or journal are not what was written.
        ArgumentError: it is not a path, or a URL that carries something secret.
        StorageError: object storage does not answer, or refuses.
        MissingLibraryError: it is a URL, and obstore is not installed.
    """
    return Run(path)


class Run:
    """A run, read-only. Its rows are those of the last :meth:`refresh`, so that they do not change in use.

    Attributes:
        path: the run directory, absolute and without links; of a run at a URL, where it is brought to.
        url: where the run is in object storage; None of one on the disk.
        layout: shapes, dtypes and chunks of its arrays.
        steps: ``(step,)`` int64 global step of each row, ascending; gaps are steps that were not recorded.
        sealed_rows: rows in the Zarr group; the rest are still in the journal.
        unproven_steps: ``(unproven,)`` int64 steps that were captured after those, and that nothing on this
            machine proves yet: they are in the journal of another machine, or of one that was started anew,
            without a checksum. They are not among ``steps``.
        journal_elsewhere: where the ring lies that cannot be read here, and may hold steps behind the sealed
            ones; empty if none can be missing.
        ranks_differ: of a run of several processes, which steps they have recorded differently, so that
            nothing from there on is a step of the whole; empty where they have not.
    """

    def __init__(self, path: PathLike) -> None:
        """Open the run; :func:`open_run` is the usual way."""
        self._brought = Brought(path) if isinstance(path, str) and is_url(path) else None
        self.url = None if self._brought is None else self._brought.url
        self._paths = RunPaths(path if self._brought is None else self._brought.root)
        self.path = self._paths.root
        check_is_run(self._paths)
        self._opened = OpenedRun(self._paths.manifest)
        with self._opened.reading():
            self._manifest = Manifest(self._paths.manifest)
        self._following = Following(self._paths, self._manifest, Run)
        self.journal_elsewhere = self.ranks_differ = ""
        self.steps: NDArray[np.int64] = np.zeros(0, np.int64)
        self.unproven_steps: NDArray[np.int64] = np.zeros(0, np.int64)
        self.sealed_rows = -1
        self._said: tuple[Digest | None, Annotations] | None = None
        self._names: tuple[Annotations, TokenNames] | None = None
        self.layout: Layout
        self._rows: Rows
        self.refresh()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, and what is sent to another process, open the run again; no data goes along."""
        last = int(self.steps[-1]) if len(self.steps) else -1
        return Run._reopened, (self.url or str(self.path), self._manifest.mark, len(self.steps), last)

    @classmethod
    def _reopened(cls, path: str, mark: tuple[int, int], rows: int, last: int) -> "Run":
        """Open a run again that was open elsewhere, with so many rows up to a last step.

        Raises:
            RunReplacedError: there is no run any more, or it is not the one that was open.
        """
        try:
            run = cls(path)
            same = run._manifest.begins_with(mark)
        except (NotARunError, FileNotFoundError) as error:
            raise RunReplacedError(f"the run {path}, which was open with {rows:,} rows, is gone") from error
        if not same or len(run.steps) < rows or (rows and run.steps[rows - 1] != last):
            raise RunReplacedError(
                f"{path} was open with {rows:,} rows; since then it was rewound, or another run was recorded "
                "in its place. Open it anew with open_run."
            )
        return run

    def refresh(self) -> None:
        """Take in the rows that were recorded since; cheap when there are none.

        Raises:
            RunReplacedError: another run was recorded in its place.
            DamagedError: metadata, manifest or journal are not what was written.
        """
        if self._brought is not None and self.sealed_rows >= 0:  # not the first look
            self._brought.take_in()
        with self._opened.reading():
            self._refresh()

    def _refresh(self) -> None:
        seen = self._following.look()
        if seen.sealed_rows == self.sealed_rows:
            sealed, layout = self._rows.sealed, self.layout
        else:
            layout = seen.layout
            sealed = SealedRows(self._paths, self._manifest, layout, seen.sealed_rows)
        steps = np.concatenate([sealed.steps, np.array(seen.tail, np.int64)])
        if (np.diff(steps, prepend=-1) <= 0).any():
            raise DamagedError(f"{self.path}: its steps do not ascend: {describe(steps[-20:].tolist())}")
        # What was read may be another run's: then this one stays as it was.
        self._opened.check()
        self.layout, self.sealed_rows, self.steps = layout, seen.sealed_rows, steps
        self.unproven_steps = np.array(seen.unproven, np.int64)
        self.journal_elsewhere, self.ranks_differ = seen.journal_elsewhere, seen.ranks_differ
        self._rows = Rows(
            self.path, layout, sealed, steps, holder=seen.holder, later=partial(Run._later, self.path)
        )

    @staticmethod
    def _later(path: Path) -> Iterator[Rows]:
        """The rows that a run has by now, anew each time."""
        now = Run(path)
        while True:
            yield now._rows
            now.refresh()

    @property
    def frame(self) -> FrameSpec:
        """Names, shape and dtypes of what a step records."""
        return self.layout.frame

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the main array: ``(step, token, dim)`` of ``embeddings``, or of the first there is."""
        return (len(self.steps), *self.frame.shape)

    @property
    def store(self) -> Store:
        """Where the matrices of sealed rows are."""
        return self.layout.store

    @property
    def compacted_rows(self) -> int:
        """How many of its rows were made as small as they get (``embevo compact``)."""
        return self._rows.sealed.compacted

    @property
    def attributes(self) -> Mapping[str, Any]:
        """All attributes of the Zarr group."""
        return self.layout.attributes

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that was given to the recorder; empty if none was."""
        return _mapping(self.attributes.get("config"))

    @property
    def corpus(self) -> dict[str, Any]:
        """What is known of the corpus (name, bytes, SHA-256); empty if nothing is."""
        return _mapping(self.attributes.get("corpus"))

    @property
    def versions(self) -> dict[str, Any]:
        """Versions of the software that recorded the run; empty if they were not given."""
        return _mapping(self.attributes.get("versions"))

    @property
    def tokens(self) -> Tokens | None:
        """Counts of the recorded tokens, live and dead ids; None if they are not known.

        The counts are those that the run was annotated with, or else those that the recorder was given.
        """
        recorded = None if self.frame.tokens is None else self.frame.token_ids
        counts = self.annotations.token_count
        if counts is not None:
            return Tokens(counts, recorded)
        if "token_count" not in self.layout.arrays:
            return None
        with self._opened.reading():
            return Tokens(self._rows.sealed.token_count(), recorded)

    @property
    def annotations(self) -> Annotations:
        """What is said of the recorded tokens beside their vectors: strings, counts and groups.

        Raises:
            DamagedError: it is not what was written.
        """
        with self._opened.reading():
            self._manifest.refresh()
            entered = self._manifest.annotated
            if self._said is None or self._said[0] != entered:
                said = read_annotations(self._paths, self._manifest, self.frame.token_ids)
                self._said = (self._manifest.annotated, said)
            return self._said[1]

    @property
    def token_names(self) -> TokenNames:
        """What the recorded tokens are called, and which of them a text means."""
        said = self.annotations
        if self._names is None or self._names[0] is not said:
            self._names = (said, TokenNames.of(self.attributes, self.frame.token_ids, said.strings))
        return self._names[1]

    @property
    def groups(self) -> dict[str, NDArray[np.int64]]:
        """Groups of the user's own: name to the ascending ids of the recorded tokens in it."""
        return dict(self.annotations.groups)

    def __getitem__(self, name: str) -> StepArray:
        """An array along ``step`` by name, read when it is sliced; KeyError lists the names there are.

        16-bit matrices come as the float32 that the group stores, unless it stores them natively;
        ``run[name].native`` is the array in the dtype in which the model has it.
        """
        if isinstance(name, str) and name in self.frame.by_name:
            spec = self.frame.by_name[name]
            shape, axes = (len(self.steps), *spec.shape), ("step", *spec.dimensions)
            dtype = read_dtype(self.layout, name)
            read, recorded = partial(self._read, name), spec.numpy_dtype
            return StepArray(name, shape, dtype, recorded, read, axes, self._positions)
        if isinstance(name, str) and name in self.frame.scalars:
            dtype, read = np.dtype(np.float64), partial(self._read, name)
            return StepArray(name, (len(self.steps),), dtype, dtype, read, ("step",), self._positions)
        hint = "; steps are in run.steps" if isinstance(name, str) and name == "step" else ""
        raise KeyError(f"{self.path} has no array {name!r}; it has {', '.join(self)}{hint}")

    def __iter__(self) -> Iterator[str]:
        """The names of its arrays along ``step``, scalars last."""
        return iter((*self.frame.by_name, *self.frame.scalars))

    def __contains__(self, name: object) -> bool:
        return name in self.frame.by_name or name in self.frame.scalars

    def __repr__(self) -> str:
        span = f"steps {self.steps[0]:,} to {self.steps[-1]:,}" if len(self.steps) else "no step"
        arrays = "".join(f", {name} {spec.dtype} {spec.shape}" for name, spec in self.frame.arrays)
        scalars = "".join(f", {name}" for name in self.frame.scalars)
        return f"<Run {self.url or self.path}: {len(self.steps):,} rows, {span}{arrays}{scalars}>"

    def _positions(self, axis: str, labels: Sequence[object]) -> list[int]:
        """The positions of labels along an axis: steps, and ids or texts of tokens."""
        if axis == "token":
            names = self.token_names
            return [int(np.searchsorted(names.ids, names.id_of(label))) for label in labels]
        rows = {step: row for row, step in enumerate(self.steps.tolist())}
        missing = [label for label in labels if label not in rows]
        if missing:
            raise ArgumentError(f"{self.path} has no step {missing[0]}: run.steps lists those recorded")
        return [rows[label] for label in labels if isinstance(label, int | np.integer)]

    def to_xarray(self, *, native: bool = False, chunks: Mapping[str, int] | None = None) -> "xr.Dataset":
        """The run as an xarray dataset of arrays ``(step, token, dim)`` and scalars ``(step,)``.

        It has the rows of the last :meth:`refresh`, those in the journal included, and the coordinates
        ``step``, ``token``, ``token_count`` and ``token_string`` where the run has them; the last is the
        text of each token, or its label where it has no text that a file could hold. Values are read when
        they are asked for. It carries no encoding, so that it, and any selection of it, can be saved again;
        attributes that netCDF cannot hold are JSON texts. Where dask is installed, the arrays are dask's, in
        blocks.

        Args:
            native: keep 16-bit arrays that the run stores in the model's dtype, instead of widening them
                exactly to float32.
            chunks: ``{}`` for arrays of dask in the chunks that are compressed together, of some tokens each
                where the matrix is large, or other sizes by axis; by default whole blocks, if there is dask.

        Raises:
            MissingLibraryError: xarray is not installed; or ``chunks`` are given, and dask is not.
        """
        from embevo.run.reading.dataset import dataset_of  # noqa: PLC0415 - most readers need no xarray

        return dataset_of(self, native=native, chunks=chunks)

    def view(self, **how: Any) -> Any:
        """Show it in a notebook: ``embevo.view(run, ...)``, which says what may be given and is raised."""
        # The face hands it out: nothing that reads runs knows of the viewer.
        return import_module("embevo").view(self, **how)

    def images(self, rows: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The safetensors images of rows, as ``(step, image)``, bit for bit what was captured.

        Raises:
            DamagedError: an image does not have the checksum that it was captured with.
            RunReplacedError: another run was recorded in the place of this one.
        """
        images = self._rows.images(rows)
        while True:
            with self._opened.reading():
                found = next(images, None)
            if found is None:
                return
            yield found

    def sealed_steps(self, rows: list[int]) -> NDArray[np.int64]:
        """What the group's own ``step`` array says of sealed rows."""
        with self._opened.reading():
            return np.asarray(self._rows.sealed.read("step", np.array(rows), ()), np.int64)

    def image_checksum(self, row: int) -> int:
        """XXH3-64 of the safetensors image of a sealed row, as it was captured."""
        return self._rows.sealed.image_checksum(row)

    def _read(
        self,
        name: str,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        dtype: np.dtype[Any],
        out: NDArray[Any] | None,
    ) -> NDArray[Any]:
        with self._opened.reading():
            return self._rows.values(name, rows, axes, dtype, out)


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
