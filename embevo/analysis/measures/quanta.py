"""How far tokens went on the lattice, in elements that can move, beside moves in random directions."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.bands import Band, bands
from embevo.analysis.measures.lattice import spacing
from embevo.analysis.measures.pieces import Piece
from embevo.analysis.measures.pinning import pinned_from

_CASES: Final = 199


def against_noise(
    paths: NDArray[Any], largest_rate: float, dtype: np.dtype[Any], pieces: Sequence[Piece]
) -> dict[str, Band]:
    """Net displacement over the length of a vector of one ULP in every element, in the median over tokens.

    sqrt(sum d^2 / sum u^2), d being the displacement of an element and u its ULP at the beginning. Elements
    that are pinned there at the largest learning rate are left out: their ULPs are so large that they say
    what the size of the token is, and nothing of how it moves. In the null every recorded move of a token
    keeps its size, and goes forward or back at random.

    Args:
        paths: ``(row, token, dim)``.
        largest_rate: largest learning rate; 0 where none is known, and no element is left out then.
        dtype: in which they were recorded.
        pieces: which rows.

    Returns:
        By name of the piece. NaN where no element can move.
    """
    limit = np.inf if not largest_rate else float(pinned_from(np.array([largest_rate]), dtype)[0])
    rng = np.random.default_rng(0)
    values, null = [], []
    for piece in pieces:
        signs = (2 * rng.integers(2, size=(_CASES, piece.intervals)) - 1).astype(np.float64)
        rows = paths[piece.first : piece.last + 1].astype(np.float64)
        each = [_of_token(rows[:, token], signs, limit, dtype) for token in range(rows.shape[1])]
        found = np.median(np.array(each), axis=0)
        values.append(found[0])
        null.append(found[1:])
    together = bands(np.array(values), np.stack(null, axis=1)) if values else []
    return {piece.name: band for piece, band in zip(pieces, together, strict=True)}


def _of_token(
    rows: NDArray[np.float64], signs: NDArray[np.float64], limit: float, dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """``(1 + case,)`` the recorded one and those with signs ``(case, move)``."""
    can = np.abs(rows[0]) < limit
    if not can.any():
        return np.full(1 + len(signs), np.nan)
    moves = np.diff(rows[:, can], axis=0)
    net = np.concatenate([moves.sum(axis=0, keepdims=True), signs @ moves])
    gaps = spacing(rows[0, can], dtype)
    # In units of the largest gap: the square of that between the smallest numbers is 0.
    largest = gaps.max()
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.sqrt(((net / largest) ** 2).sum(axis=1))
        return np.asarray(moved / np.sqrt(((gaps / largest) ** 2).sum()), np.float64)
