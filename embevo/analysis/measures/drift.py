"""Did a cloud move as a whole? The way of its bodies together against that of bodies that go anywhere."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import pays
from embevo.analysis.measures.bands import Band, bands
from embevo.analysis.measures.normals import Draw, drawer
from embevo.analysis.measures.random_directions import Directions, walks

_CASES: Final = 999
# Sums of so many bodies are taken for normal: the error is far below what so many cases can tell.
_MANY: Final = 1000


def bodies(
    moved: NDArray[np.float64], live: NDArray[np.int64], dead: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(body, dim)`` displacements: each live token is a body, and the dead together are one, their mean.

    Dead tokens get the same gradient but for rounding, so that many of them are hardly more than one. Where
    live and dead are not known, each token is a body.

    Args:
        moved: ``(token, dim)``.
        live: ids of the live tokens.
        dead: ids of the dead.
    """
    if not len(live) and not len(dead):
        return moved
    return (
        np.concatenate([moved[live], moved[dead].mean(axis=0, keepdims=True)]) if len(dead) else moved[live]
    )


def together(displacements: NDArray[np.float64]) -> float:
    """|sum b| / sqrt(sum |b|^2) of displacements b ``(body, dim)``.

    Independent ones without a common direction make it 1, in the root mean square; n equal ones sqrt(n).
    """
    total = displacements.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt(total @ total / np.einsum("bd,bd->", displacements, displacements)))


def drifts(pieces: Sequence[NDArray[np.float64]]) -> list[Band]:
    """:func:`together` of the bodies of each piece of a run, beside bodies in random directions.

    In the null each body keeps the length of its displacement. Directions are drawn in as many dimensions as
    the recorded ones have (:class:`~embevo.analysis.measures.random_directions.Directions`); of many bodies
    the sum is drawn (:func:`sums`).
    """
    draw = _drawer(pieces)
    null = np.full((_CASES, len(pieces)), np.nan)
    for at, moved in enumerate(pieces):
        lengths = np.linalg.norm(moved, axis=1)
        if np.isfinite(lengths).all() and lengths.any():
            found = sums(lengths, Directions.of(moved, 0.0), draw)
            null[:, at] = np.linalg.norm(found, axis=1) / np.sqrt((lengths**2).sum())
    return bands(np.array([together(moved) for moved in pieces]), null)


def separation(displacements: NDArray[np.float64], before: NDArray[np.float64], value: float) -> Band:
    """How far apart the centroids of live and dead tokens are, beside bodies in random directions.

    Args:
        displacements: ``(body, dim)`` those of the live tokens, and last that of the dead together.
        before: ``(dim,)`` vector between the centroids before.
        value: their distance after.
    """
    lengths = np.linalg.norm(displacements, axis=1)
    null = np.full((_CASES, 1), np.nan)
    if np.isfinite(lengths).all() and lengths.any():
        directions = Directions.of(displacements, 0.0)
        draw = _drawer([displacements])
        if are_many(lengths[:-1]):
            live = sums(lengths[:-1], directions, draw) / len(lengths[:-1])
            apart = (live - sums(lengths[-1:], directions, draw)).astype(np.float32)
        else:
            drawn = walks(lengths, directions, _CASES, draw.of, compiled=draw.compiled)
            apart = np.concatenate([some[:, :-1].mean(axis=1) - some[:, -1] for some in drawn])
        # In a random direction to what is random, too.
        apart[:, 0] += np.linalg.norm(before)
        null[:, 0] = np.linalg.norm(apart, axis=1)
    return bands(np.array([value]), null)[0]


def are_many(lengths: NDArray[np.float64]) -> bool:
    """Whether the sum of bodies ``(body,)`` in random directions is normal, for all that can be told.

    By the central limit theorem, with an error of one over (sum l^2)^2 / sum l^4, which is their number where
    all lengths l are equal, and less where a few are longer than the rest.
    """
    squares = lengths * lengths
    with np.errstate(divide="ignore", invalid="ignore"):
        return bool(squares.sum() ** 2 / (squares * squares).sum() >= _MANY)


class _Drawer(NamedTuple):
    """Draws normal numbers of a shape, and whether compiled loops do."""

    of: Draw
    compiled: bool


def _drawer(displacements: Sequence[NDArray[np.float64]]) -> _Drawer:
    most = max((moved.size for moved in displacements), default=0)
    compiled = pays(_CASES * len(displacements), most)
    return _Drawer(drawer(0, compiled=compiled), compiled)


def sums(lengths: NDArray[np.float64], directions: Directions, draw: _Drawer) -> NDArray[np.float64]:
    """``(case, dimension)`` sums of bodies of these lengths ``(body,)``, each in a random direction.

    Of many, the normal numbers that such sums are: of variance sum l^2 / d in each of d dimensions.
    """
    if are_many(lengths):
        drawn_sums = draw.of((_CASES, directions.dimensions)).astype(np.float64)
        drawn_sums *= np.sqrt((lengths**2).sum() / directions.dimensions)
        return drawn_sums
    drawn = walks(lengths, directions, _CASES, draw.of, compiled=draw.compiled)
    return np.concatenate([some.sum(axis=1, dtype=np.float64) for some in drawn])
