"""The axes of a view: which directions through the space of a matrix they are, and what is said of them."""

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.components import DECOMPOSED, Components
from embevo.errors import ArgumentError
from embevo.viewer.moments import Moments
from embevo.viewer.opened import OpenedRun
from embevo.viewer.projecting import Projection, finite_points
from embevo.viewer.view_name import ViewName

# Up to so many elements in all, all rows are read for what is of all of them; of longer runs, some.
_READ_ELEMENTS: Final = 1 << 28
_FEWEST_BLOCKS: Final = 2


def fit(
    view: ViewName, opened: OpenedRun, others: Sequence[OpenedRun] = ()
) -> tuple[Projection, dict[str, Any]]:
    """The map of a view, with the ``labels`` of its axes and what they were ``fitted`` on, in words.

    Args:
        view: which.
        opened: the run that is shown.
        others: the runs of the page before it, whose components it may be shown along.

    Raises:
        ArgumentError: there is no such component, dimension, step or run, or vectors of another length.
        DamagedError: stored bytes are not what was written.
    """
    _, tokens, dim = opened.shape
    if view.kind == "raw":
        if max(view.axes) >= dim:
            raise ArgumentError(f"there is no dimension {max(view.axes)}: the vectors have {dim}")
        said = {
            "labels": [f"dimension {axis}" for axis in view.axes],
            "fitted": "the dimensions as they were recorded",
        }
        return Projection(np.zeros(dim), np.eye(dim)[list(view.axes)]), said
    components, fitted = _components(view, _whose(view, opened, others))
    if view.of is not None:
        fitted = f"{fitted} of {others[view.of].name}"
    count = len(components.basis)
    if min(view.axes) >= count:
        raise ArgumentError(
            f"there is no component {min(view.axes)}: {tokens:,} vectors of {dim} have {count}"
        )
    basis = np.zeros((3, dim))
    for place, axis in enumerate(view.axes):
        if axis < count:
            basis[place] = components.basis[axis]
    if view.is_sky:
        where = "centroid" if view.kind == "sky-centroid" else "origin"
        along = ", ".join(str(axis + 1) for axis in view.axes)
        across = f"longitude of the direction from the {where} along components {along}, on Mollweide's map"
        return Projection(np.zeros(dim), basis, where), {"labels": [across, "latitude", ""], "fitted": fitted}
    variance = components.variance.sum()
    shares = components.variance / variance if variance > 0 else None
    own = shares if view.of is None else None
    labels = [_label(axis, count, own) for axis in view.axes]
    return Projection(components.mean, basis), {"labels": labels, "fitted": fitted}


def is_much(shape: tuple[int, int, int]) -> bool:
    """Whether a run of a shape ``(step, token, dim)`` is too long to be read whole for its axes."""
    return prod(shape) > _READ_ELEMENTS


def some_blocks(opened: OpenedRun) -> list[tuple[int, int]]:
    """Stretches of rows that are read together: all of them where that is little to read.

    Of longer runs some, evenly spaced in the logarithm, with both ends.
    """
    rows, tokens, dim = opened.shape
    size = opened.block_rows
    last = (rows - 1) // size
    count = max(_FEWEST_BLOCKS, _READ_ELEMENTS // (size * tokens * dim))
    numbers = np.arange(last + 1)
    if count <= last:
        spaced = np.rint(np.geomspace(1, last + 1, count)).astype(np.int64) - 1
        numbers = np.unique(np.concatenate([[0, last], spaced]))
    return [(number * size, min(number * size + size, rows)) for number in numbers.tolist()]


def _label(axis: int, count: int, shares: NDArray[np.float64] | None) -> str:
    if axis >= count:
        return "no further component"
    share = "" if shares is None or not np.isfinite(shares[axis]) else f", {shares[axis]:.0%} of the variance"
    return f"component {axis + 1}{share}"


def _whose(view: ViewName, opened: OpenedRun, others: Sequence[OpenedRun]) -> OpenedRun:
    """The run whose components are asked for."""
    if view.of is None:
        return opened
    if view.of >= len(others):
        raise ArgumentError(f"run {view.of} is not before this one: there are {len(others)} before it")
    dim, theirs = opened.shape[2], others[view.of].shape[2]
    if dim != theirs:
        raise ArgumentError(
            f"vectors of {dim} numbers have no place along components of vectors of {theirs}: let each run "
            "have its own axes"
        )
    return others[view.of]


def _components(view: ViewName, opened: OpenedRun) -> tuple[Components, str]:
    """The principal components of a view, and what of the run they are of.

    Vectors that are not finite have no part in them; where all are none, the components are NaN, and so are
    all places: a cloud in one point would look like a run that has collapsed.
    """
    rows, tokens, _ = opened.shape
    if view.kind == "all":
        blocks = some_blocks(opened)
        count = sum(stop - start for start, stop in blocks)
        some = "all steps together" if count == rows else f"{count:,} of {rows:,} steps together"
        found, unlike = _of_blocks(opened, blocks)
        return found, f"principal components of {some}{_without(unlike, count * tokens)}"
    steps = opened.steps
    step = int(steps[-1]) if view.step is None else view.step
    row = int(np.searchsorted(steps, step))
    if row >= rows or steps[row] != step:
        raise ArgumentError(f"{opened.path} has no step {step}: run.steps lists those that it has")
    (_, values), *_ = opened.blocks(row, row + 1)
    found, unlike = _of_one(values[0])
    return found, f"principal components of step {step:,}{_without(unlike, tokens)}"


def _without(unlike: int, count: int) -> str:
    """What to say of vectors that are not finite; nothing where there are none."""
    if not unlike:
        return ""
    if unlike == count:
        return ": there are none, because no vector is finite"
    return f", without {unlike:,} of {count:,} vectors that are not finite"


def _of_one(vectors: NDArray[np.generic]) -> tuple[Components, int]:
    """The components of ``(token, dim)`` vectors, and how many of these are not finite."""
    if vectors.size > DECOMPOSED:
        moments = Moments(vectors.shape[1])
        moments.add(vectors)
        return moments.components(len(vectors)), moments.unlike
    finite = finite_points(vectors.astype(np.float64))
    found = Components.of(finite) if len(finite) else Components.nowhere(*vectors.shape)
    return found, len(vectors) - len(finite)


def _of_blocks(opened: OpenedRun, blocks: Sequence[tuple[int, int]]) -> tuple[Components, int]:
    """The components of all tokens of some rows, taken together as one cloud, and how many are not finite."""
    _, tokens, dim = opened.shape
    moments = Moments(dim)
    for start, stop in blocks:
        for _, values in opened.blocks(start, stop):
            moments.add(values.reshape(-1, dim))
    return moments.components(tokens), moments.unlike
