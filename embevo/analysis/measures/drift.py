"""Did a cloud move as a whole? The way of its bodies together against that of bodies that go anywhere."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import pays
from embevo.analysis.measures.bands import Band, bands
from embevo.analysis.measures.normals import drawer
from embevo.analysis.measures.random_directions import Directions, walks

_CASES: Final = 999


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
    the recorded ones have (:class:`~embevo.analysis.measures.random_directions.Directions`).
    """
    compiled = pays(_CASES * len(pieces), max((moved.size for moved in pieces), default=0))
    draw = drawer(0, compiled=compiled)
    null = np.full((_CASES, len(pieces)), np.nan)
    for at, moved in enumerate(pieces):
        lengths = np.linalg.norm(moved, axis=1)
        if np.isfinite(lengths).all() and lengths.any():
            drawn = walks(lengths, Directions.of(moved, 0.0), _CASES, draw, compiled=compiled)
            sums = np.concatenate([some.sum(axis=1, dtype=np.float64) for some in drawn])
            null[:, at] = np.linalg.norm(sums, axis=1) / np.sqrt((lengths**2).sum())
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
        compiled = pays(_CASES, displacements.size)
        drawn = walks(lengths, directions, _CASES, drawer(0, compiled=compiled), compiled=compiled)
        apart = np.concatenate([some[:, :-1].mean(axis=1) - some[:, -1] for some in drawn])
        # In a random direction to what is random, too.
        apart[:, 0] += np.linalg.norm(before)
        null[:, 0] = np.linalg.norm(apart, axis=1)
    return bands(np.array([value]), null)[0]
