"""A run on the lattice of bfloat16 whose tokens slow down, rest, are kicked and fall together; and clouds."""

from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

TOKENS, DIM, ROWS = 60, 14, 90
DEAD: Final = [3, 4, 5, 6, 7, 30, 31]
LIVE: Final = [token for token in range(TOKENS) if token not in DEAD]
GROUPS: Final = (("all", list(range(TOKENS))), ("live", LIVE), ("dead", DEAD))


def moving() -> NDArray[Any]:
    """Tokens 8, 9 and 10 rest for some rows; the dead move as one, from one point near the origin."""
    rng = np.random.default_rng(5)
    increments = rng.normal(size=(ROWS, TOKENS, DIM)) * np.linspace(0.05, 0.002, ROWS)[:, None, None]
    increments[0] = rng.normal(size=(TOKENS, DIM)) * 0.2 + 0.4
    increments[0, DEAD] = 0.01
    increments[:, DEAD[1:]] = increments[:, DEAD[:1]]
    increments[20:, 8] = 0
    increments[40, 8] = 0.25
    increments[1:15, 9] = 0
    increments[1:, 10] = 0
    return increments.cumsum(axis=0).astype(ml_dtypes.bfloat16)


def turn(dim: int, seed: int = 0) -> NDArray[np.float64]:
    """A rotation."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


def stretched(tokens: int = 200, dim: int = 14, seed: int = 0) -> NDArray[np.float64]:
    """A cloud about (1, ..., 1) that is narrower in each further direction."""
    widths = np.arange(1, dim + 1) ** -0.7
    return np.random.default_rng(seed).normal(size=(tokens, dim)) * widths @ turn(dim, seed) + 1


def rotated(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same cloud elsewhere, larger and turned."""
    return 3.7 * points @ turn(points.shape[1], 1) + np.arange(points.shape[1])
