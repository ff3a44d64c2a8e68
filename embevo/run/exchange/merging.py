"""Several runs of one training become one: consecutive pieces, or steps that lie between each other's."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ArgumentError, DivergedError, FrameMismatchError
from embevo.run.disk.checksum import checksum
from embevo.run.exchange.carrying import agreed, said_of
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for
from embevo.run.format.steps import to_ranges
from embevo.run.format.token_names import Annotations
from embevo.run.journal.ring import Frame
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.reader import Run, open_run
from embevo.run.writing.run_writer import RunWriter

_PACKAGES: Final = ("embevo", "zarr", "numpy")
# What a run says of how it came to be: that of the new run is its own, and that of the old ones is in it.
_OWN: Final = ("embevo", "imported", "merged", "versions")


@dataclass(frozen=True, eq=False)
class Merging:
    """Runs that agree with each other, compared and ready to be merged.

    Attributes:
        runs: as they were given.
        steps: ``(row,)`` int64 steps of the merged run, ascending.
        sources: ``(row,)`` int64 which of the runs each row is taken from.
        scalars: ``(row, scalar)`` float64; where a step is in several runs, a number wins over NaN.
        said: what the runs say of the tokens, as far as none contradicts another: texts, counts, groups.
        attributes: those that agree, and where each stretch of steps came from.
        left_out: names of the attributes that do not agree, and are only in the record.
        contradicted: what is said of the tokens and does not agree, and is left out: a group is one where it
            has the same tokens in all runs that have it, texts likewise, and counts where all have the same.
    """

    runs: tuple[Run, ...]
    steps: NDArray[np.int64]
    sources: NDArray[np.int64]
    scalars: NDArray[np.float64]
    said: Annotations
    attributes: Mapping[str, Any]
    left_out: list[str]
    contradicted: list[str]

    @property
    def frame(self) -> FrameSpec:
        """What each step records."""
        return self.runs[0].frame


def inspect_runs(paths: Sequence[PathLike], on_step: Callable[[int], None] | None = None) -> Merging:
    """Open runs, and compare every step that is in more than one of them; nothing is written.

    The arrays of such a step are equal in every bit, and so are its scalars; but a number and NaN agree,
    since a piece that begins with the state of another's last step does not know its loss.

    Args:
        paths: of two runs or more, or of one that several processes have recorded, which is then made a run
            of one piece; each may be interrupted, or being recorded.
        on_step: called with each step that was compared.

    Raises:
        ArgumentError: fewer than two runs, none of them of several processes, or one run twice.
        NotARunError: a path is not a run.
        FrameMismatchError: the runs do not record the same arrays, tokens and scalars, or nothing at all.
        DivergedError: a step is not the same in two of them.
        DamagedError: stored bytes are not what was captured.
    """
    runs = tuple(open_run(path) for path in paths)
    places = [run.path for run in runs]
    if len(runs) < 2 and not any(run.layout.shards for run in runs):
        raise ArgumentError(
            f"merging takes two runs or more, or one that several processes have recorded; got {len(runs)}"
        )
    if len(set(places)) < len(places):
        raise ArgumentError(f"a run is given twice: {', '.join(map(str, places))}")
    for run in runs[1:]:
        _check_same_frame(runs[0], run)
    steps, first = np.unique(np.concatenate([run.steps for run in runs]), return_index=True)
    if not len(steps):
        listed = ", ".join(map(str, places))
        raise FrameMismatchError(f"none of {listed} has a step: there is nothing to merge")
    sources = np.repeat(np.arange(len(runs)), [len(run.steps) for run in runs])[first]
    for index, run in enumerate(runs):
        _check_overlap(runs, sources[np.searchsorted(steps, run.steps)], index, on_step)
    scalars = np.full((len(steps), len(runs[0].frame.scalars)), np.nan)
    for run in runs:
        _take_scalars(scalars, np.searchsorted(steps, run.steps), run)
    kept, left_out = _agreeing([run.attributes for run in runs])
    said, contradicted = agreed([said_of(run, run.frame.token_ids) for run in runs])
    return Merging(
        runs,
        steps,
        sources,
        scalars,
        said,
        {**kept, "merged": _record(runs, steps, sources, left_out), "versions": _versions()},
        left_out,
        contradicted,
    )


def merge_runs(
    merging: Merging,
    out: PathLike,
    *,
    store: Store = "both",
    zarr_dtype: ZarrDtype = "float32",
    overwrite: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Write the steps of several runs as one, bit for bit; what none of them has stays a gap.

    A merge that is cut short leaves a run that says of itself that it is not complete: its journal is there,
    and its attribute ``merged`` names the steps that were to come.

    Args:
        merging: from :func:`inspect_runs`.
        out: directory of the run; it must not exist yet, or be empty.
        store: as the recorder's.
        zarr_dtype: as the recorder's.
        overwrite: replace the run that is there.
        on_step: called with each step that was taken in.

    Raises:
        RunExistsError: the directory holds something.
        RunInUseError: another process is writing the run.
        ArgumentError: a run lies in the new one, or the new one in it.
        CreationError: the run cannot be created.
        DamagedError: stored bytes are not what was captured.
        OSError: with the path, when the disk is full.
    """
    paths = RunPaths(out)
    for run in merging.runs:
        if run.path.is_relative_to(paths.root) or paths.root.is_relative_to(run.path):
            raise ArgumentError(f"{run.path} and {paths.root} lie in each other: name another directory")
    block_steps = block_steps_for(merging.frame, zarr_dtype)
    layout = Layout.new(
        merging.frame,
        block_steps=block_steps,
        store=store,
        zarr_dtype=zarr_dtype,
        has_token_count=merging.said.token_count is not None,
        attributes=merging.attributes,
    )
    writer = RunWriter.create(paths, layout, slots=block_steps, overwrite=overwrite, said=merging.said)
    with writer.filling("merge"):
        _fill(writer, merging, block_steps, on_step)


def _fill(
    writer: RunWriter, merging: Merging, block_steps: int, on_step: Callable[[int], None] | None
) -> None:
    """Take the rows in, each run read from its first to its last so that no block is decoded twice."""
    images = [
        run.images(np.searchsorted(run.steps, merging.steps[merging.sources == index]).tolist())
        for index, run in enumerate(merging.runs)
    ]
    last = len(merging.steps) - 1
    for row, (source, scalars) in enumerate(zip(merging.sources.tolist(), merging.scalars, strict=True)):
        step, image = next(images[source])
        writer.journal.put(Frame(row, step, scalars, image, checksum(image.data)))
        writer.sealer.snapshot(writer.journal, row)
        if (row + 1) % block_steps == 0 or row == last:
            writer.sealer.seal(writer.journal, row + 1)
        if on_step is not None:
            on_step(step)


def _check_same_frame(one: Run, other: Run) -> None:
    for what, before, now in (
        ("arrays", dict(one.frame.arrays), dict(other.frame.arrays)),
        ("scalars", one.frame.scalars, other.frame.scalars),
        ("tokens", one.frame.tokens, other.frame.tokens),
    ):
        if before != now:
            raise FrameMismatchError(
                f"{one.path} and {other.path} do not record the same {what}: {_described(before)}; "
                f"{_described(now)}. Runs of one frame can be merged."
            )


def _described(part: object) -> str:
    if isinstance(part, dict):
        return ", ".join(f"{name} {spec.dtype} {spec.shape} {spec.dimensions}" for name, spec in part.items())
    return str(part)


def _take_scalars(scalars: NDArray[np.float64], rows: NDArray[np.int64], run: Run) -> None:
    """Enter the scalars of a run into its rows of ``(row, scalar)``; DivergedError where numbers differ."""
    for column, name in enumerate(run.frame.scalars):
        now = np.asarray(run[name][:], np.float64)
        before = scalars[rows, column]
        different = ~np.isnan(before) & ~np.isnan(now) & (before.view(np.int64) != now.view(np.int64))
        if different.any():
            row = int(np.flatnonzero(different)[0])
            raise DivergedError(
                f"{name} of step {run.steps[row]} is {now[row]} in {run.path} and {before[row]} in another "
                "of the runs: they are not pieces of one training. Nothing was written."
            )
        scalars[rows, column] = np.where(np.isnan(now), before, now)


def _check_overlap(
    runs: Sequence[Run], sources: NDArray[np.int64], index: int, on_step: Callable[[int], None] | None
) -> None:
    """Compare those rows of a run that are taken from one before it with that one's, in every bit."""
    run = runs[index]
    for source in np.unique(sources[sources != index]).tolist():
        rows = np.flatnonzero(sources == source)
        first = runs[source]
        others = first.images(np.searchsorted(first.steps, run.steps[rows]).tolist())
        for (step, image), (_, other) in zip(run.images(rows.tolist()), others, strict=True):
            if not np.array_equal(image, other):
                raise DivergedError(_difference(first, run, step, other, image))
            if on_step is not None:
                on_step(step)


def _difference(one: Run, other: Run, step: int, before: NDArray[np.uint8], now: NDArray[np.uint8]) -> str:
    where = "their images"
    for name, spec in one.frame.arrays:
        first, second = one.frame.matrix(before, name), one.frame.matrix(now, name)
        bits = [values.view(f"u{spec.numpy_dtype.itemsize}") for values in (first, second)]
        different = np.argwhere(bits[0] != bits[1])
        if len(different):
            place = tuple(different[0].tolist())
            axes = ", ".join(
                f"{axis} {one.frame.token_ids[at] if axis == 'token' else at}"
                for axis, at in zip(spec.dimensions, place, strict=True)
            )
            more = f"and {len(different) - 1:,} more of its {first.size:,} elements"
            where = f"{name} at {axes} ({first[place]} and {second[place]}), {more}"
            break
    return (
        f"{one.path} and {other.path} differ at step {step}: {where}. They are not pieces of one training. "
        "Nothing was written."
    )


def _agreeing(attributes: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """What all attributes say alike, mappings key by key, and the names of what they do not."""
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name in sorted({name for each in attributes for name in each} - set(_OWN)):
        values = [each.get(name) for each in attributes]
        if all(name in each for each in attributes) and all(value == values[0] for value in values):
            kept[name] = values[0]
        elif all(isinstance(value, Mapping) for value in values):
            inner, differing = _agreeing([dict(value) for value in values if isinstance(value, Mapping)])
            kept[name] = inner
            left_out += [f"{name}.{part}" for part in differing]
        else:
            left_out.append(name)
    return kept, left_out


def _record(
    runs: Sequence[Run], steps: NDArray[np.int64], sources: NDArray[np.int64], left_out: list[str]
) -> dict[str, Any]:
    """Which steps there are, from which run each is, and what that run said otherwise than the others."""
    names = {name.partition(".")[0] for name in left_out} | set(_OWN[1:])
    return {
        "steps": to_ranges(steps.tolist()),
        "runs": [
            {
                "run": run.path.name,
                "steps": to_ranges(steps[sources == index].tolist()),
                "attributes": {name: value for name, value in run.attributes.items() if name in names},
            }
            for index, run in enumerate(runs)
        ],
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
