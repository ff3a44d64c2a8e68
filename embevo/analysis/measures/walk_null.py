"""Recorded walks beside random ones of the same steps, over the whole run and over pieces of it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.bands import Band, bands
from embevo.analysis.measures.pieces import Piece
from embevo.analysis.measures.random_directions import Directions, walks
from embevo.analysis.measures.walking import STATISTICS, walk_statistics

# So many make the 95 % quantile of the largest deviation the 190th of 200 numbers, were the recorded one one.
CASES: Final = 199


def against_random_walks(
    paths: NDArray[np.float64], memory: float, pieces: Sequence[Piece], seed: int = 0
) -> dict[str, dict[str, Band]]:
    """The statistics of walks, in the mean over walks, with what they are of random walks.

    Whatever the walks have in common, their mean scatters no more than one of them does: the band is that of
    single random walks, each of which takes the steps of one of these.

    Args:
        paths: ``(row, walk, dim)`` places.
        memory: autocorrelation that momentum makes of independent gradients, from row to row.
        pieces: which rows.
        seed: of the simulation.

    Returns:
        By name of the piece, and of the statistic.
    """
    moved = np.diff(paths.astype(np.float64), axis=0)
    lengths = np.sqrt(np.einsum("swd,swd->sw", moved, moved))
    rng = np.random.default_rng(seed)
    count = moved.shape[1]
    found, null = [], []
    for walk in range(count):
        of = moved[:, walk], lengths[:, walk]
        found.append(np.concatenate([_recorded(*of, piece) for piece in pieces]))
        cases = len(range(walk, CASES, count))
        if cases and np.isfinite(of[1]).all() and of[1].any():
            null.append(
                np.concatenate([_drawn(of[0], piece, memory, cases, rng) for piece in pieces], axis=1)
            )
    values = np.array(found)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
    simulated = np.concatenate(null) if null else np.zeros((0, len(mean)))
    named = iter(bands(mean, simulated))
    return {piece.name: {name: next(named) for name in STATISTICS} for piece in pieces}


def _recorded(moved: NDArray[np.float64], lengths: NDArray[np.float64], piece: Piece) -> NDArray[np.float64]:
    """``(statistic,)``."""
    rows = slice(piece.first, piece.last)
    return np.asarray(walk_statistics(moved[None, rows], lengths[rows])[0], np.float64)


def _drawn(
    moved: NDArray[np.float64], piece: Piece, memory: float, cases: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """``(case, statistic)`` of random walks of a piece, whose directions are like its own."""
    moved = moved[piece.first : piece.last]
    lengths = np.linalg.norm(moved, axis=1)
    drawn = walks(lengths, Directions.of(moved, memory), cases, rng)
    return np.concatenate([walk_statistics(some, lengths) for some in drawn])
