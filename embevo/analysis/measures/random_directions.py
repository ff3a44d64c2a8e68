"""Walks that take the recorded steps in random directions: what a random walk of such steps looks like.

A step keeps its recorded length. Its direction is that of g = sqrt(a) m + sqrt(1 - a) w: w is white, and m is
the moving average that the optimizer's momentum makes of independent random gradients, whose autocorrelation
at a lag of k steps is beta^k. So the null remembers what momentum remembers, and nothing beyond. How much of
a step is momentum's, a, is told by the recorded directions one row apart; rounding makes it less than 1. It
is known but for an error, and each walk takes one that may be the true one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.walks import remember, stretch

# Elements of the walks that are in memory at once.
_AT_ONCE: Final = 1 << 22
# Elements of the walks that are gone over several times before the next ones are: what a core's cache holds.
_PIECE: Final = 1 << 17
# A matrix product makes the moving average of so many steps.
_BLOCK: Final = 64
# Directions in more dimensions scatter no wider than what is known of these.
_MOST_DIMENSIONS: Final = 64


@dataclass(frozen=True)
class Directions:
    """How recorded directions are imitated.

    Attributes:
        dimensions: of the space in which directions are drawn.
        memory: autocorrelation of the moving average one row apart, beta^(steps between two rows).
        share: how much of a step is the moving average's, from 0 to 1: a.
        error: standard error of the share.
    """

    dimensions: int
    memory: float
    share: float
    error: float = 0.0

    @classmethod
    def of(cls, moved: NDArray[np.float64], memory: float) -> "Directions":
        """Those of recorded displacements ``(step, dim)``; steps of no or of infinite length have none.

        The dimensions are 1 / tr C^2 rounded up, C = mean u u' being the second moments of the unit vectors
        u: as many as dim for directions that are alike in all, fewer where steps prefer some axes. The share
        is mean u(t) . u(t + 1) over the memory, kept between 0 and 1, and its error that of a mean of so many
        cosines of independent directions, 1 / sqrt(pairs * dimensions), over the memory.
        """
        lengths = np.linalg.norm(moved, axis=1)
        moves = (lengths > 0) & np.isfinite(lengths)
        units = moved[moves] / lengths[moves, None]
        if not len(units):
            return cls(1, memory, 0.0)
        second = units.T @ units / len(units)
        spread = min(_MOST_DIMENSIONS, int(np.ceil(1 / float((second * second).sum()) - 1e-9)))
        known = moves[1:] & moves[:-1]
        if not known.any() or memory == 0:
            return cls(spread, memory, 0.0)
        products = np.einsum("td,td->t", moved[1:], moved[:-1])[known]
        cosine = float((products / (lengths[1:] * lengths[:-1])[known]).mean())
        error = 1 / (memory * float(np.sqrt(len(products) * spread)))
        return cls(spread, memory, min(1.0, max(0.0, cosine / memory)), error)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What decides on some random walks.

    Attributes:
        memory: autocorrelation of the moving average one row apart.
        fresh: ``(walk, step, dimension)`` w, which is taken for the result.
        share: ``(walk, 1, 1)`` a of each walk.
        white: ``(walk, step, dimension)`` what m is made of, which is taken for it; None where a is 0.
        carry: ``(walk, 1, dimension)`` m before the first step.
        compiled: whether steps are made by compiled loops.
    """

    memory: float
    fresh: NDArray[np.float32]
    share: NDArray[np.float32]
    white: NDArray[np.float32] | None
    carry: NDArray[np.float32] | None
    compiled: bool = False

    def walks(self, lengths: NDArray[np.float64]) -> NDArray[np.float32]:
        """``(walk, step, dimension)`` displacements of these lengths ``(step,)``; to be asked for once."""
        for _ in self.each(lengths):
            pass
        return self.fresh

    def each(self, lengths: NDArray[np.float64]) -> Iterator[NDArray[np.float32]]:
        """:meth:`walks` some at a time, which are in a core's cache when they come."""
        count, steps, dimensions = self.fresh.shape
        at_once = max(1, _PIECE // max(1, steps * dimensions))
        rows_at_once = max(_BLOCK, _PIECE // (at_once * max(1, dimensions)) // _BLOCK * _BLOCK)
        for start in range(0, count, at_once):
            some = slice(start, start + at_once)
            carry = None if self.carry is None else self.carry[some]
            shares = np.sqrt(1 - self.share[some]), np.sqrt(self.share[some])
            for first in range(0, steps, rows_at_once):
                rows = slice(first, first + rows_at_once)
                walk = self.fresh[some, rows]
                if self.white is not None and carry is not None:
                    carry = self._remember(walk, self.white[some, rows], carry, shares)
                squares = np.einsum("wsd,wsd->ws", walk, walk)
                if self.compiled:
                    stretch(walk, squares, lengths[rows])
                else:
                    walk *= (lengths[rows] / np.sqrt(squares))[..., None].astype(np.float32)
            yield self.fresh[some]

    def _remember(
        self,
        walk: NDArray[np.float32],
        white: NDArray[np.float32],
        carry: NDArray[np.float32],
        shares: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        """Add the moving average to some steps; gives m in the last one, ``(walk, 1, dimension)``."""
        kernel, fading = _averaging(self.memory)
        fresh, averaged = shares
        if self.compiled:
            within = _within(white, kernel)
            carry = carry.copy()
            remember(walk, within, fading[:, 0], carry[:, 0], (fresh[:, 0, 0], averaged[:, 0, 0]))
            return carry
        carry = _average(white, kernel, fading, carry)
        walk *= fresh
        white *= averaged
        walk += white
        return carry


def drawn(
    steps: int,
    directions: Directions,
    count: int,
    draw: Callable[[tuple[int, ...]], NDArray[np.float32]],
    *,
    compiled: bool = False,
) -> Iterator[Drawn]:
    """Draw random walks, some at a time.

    Args:
        steps: of each walk.
        directions: how they are drawn.
        count: how many walks in all.
        draw: gives the next standard normal numbers, of a shape.
        compiled: whether steps are made by compiled loops: the same ones, in less time.
    """
    at_once = max(1, _AT_ONCE // max(1, steps * directions.dimensions))
    for start in range(0, count, at_once):
        shape = (min(at_once, count - start), steps, directions.dimensions)
        fresh = draw(shape)
        share = directions.share + directions.error * draw((shape[0], 1, 1))
        share = np.clip(share, 0, 1).astype(np.float32)
        white = draw(shape) if share.any() else None
        carry = None if white is None else draw((shape[0], 1, shape[2]))
        yield Drawn(directions.memory, fresh, share, white, carry, compiled)


def walks(
    lengths: NDArray[np.float64], directions: Directions, count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Displacements of random walks, some at a time.

    Args:
        lengths: ``(step,)`` of each step.
        directions: how they are drawn.
        count: how many walks.
        rng: what decides.

    Yields:
        ``(walk, step, dimension)`` float32, ``count`` walks in all: rounding is far below what they scatter.
    """

    def draw(shape: tuple[int, ...]) -> NDArray[np.float32]:
        return rng.standard_normal(shape, np.float32)

    for some in drawn(len(lengths), directions, count, draw):
        yield some.walks(lengths)


def mean_square(lengths: NDArray[np.float64], directions: Directions) -> float:
    """Mean squared net displacement of such walks.

    sum l(t)^2 + 2 a sum over s < t of beta^(t - s) l(s) l(t), as a beta^k is the mean cosine between two
    directions that are k rows apart.
    """
    total, carried, before = 0.0, 0.0, 0.0
    for length in lengths.tolist():
        carried = directions.memory * (carried + before)
        total += length * (length + 2 * directions.share * carried)
        before = length
    return total


def _average(
    white: NDArray[np.float32],
    kernel: NDArray[np.float32],
    fading: NDArray[np.float32],
    carry: NDArray[np.float32],
) -> NDArray[np.float32]:
    """m(t) = beta m(t - 1) + sqrt(1 - beta^2) w(t) along the second axis, stationary, of unit variance.

    Args:
        white: ``(walk, step, dim)`` w, which becomes m.
        kernel: ``(step, step)`` what each w makes of m in its block.
        fading: ``(step, 1)`` what m before a block makes of it.
        carry: ``(walk, 1, dim)`` m before the first step.

    Returns:
        ``(walk, 1, dim)`` m in the last step.
    """
    walk_count, steps, dimensions = white.shape
    whole = steps // _BLOCK
    within = _within(white, kernel)
    # What comes in with each block, from the last step of the one before.
    carries = np.empty((walk_count, whole + 1, 1, dimensions), np.float32)
    carries[:, 0] = carry
    last, ends = fading[-1:], within[:, _BLOCK - 1 :: _BLOCK, None]
    for block in range(whole):
        np.multiply(last, carries[:, block], out=carries[:, block + 1])
        carries[:, block + 1] += ends[:, block]
    blocks = white[:, : whole * _BLOCK].reshape(walk_count, whole, _BLOCK, dimensions)
    np.multiply(fading, carries[:, :-1], out=blocks)
    rest = white[:, whole * _BLOCK :]
    np.multiply(fading[: rest.shape[1]], carries[:, -1], out=rest)
    white += within
    return white[:, -1:].copy()


def _within(white: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(walk, step, dim)`` what the w of each block make of m there."""
    walk_count, steps, dimensions = white.shape
    found = np.empty((walk_count, steps, dimensions), np.float32)
    whole = steps // _BLOCK * _BLOCK
    blocks = walk_count, whole // _BLOCK, _BLOCK, dimensions
    np.matmul(kernel, white[:, :whole].reshape(blocks), out=found[:, :whole].reshape(blocks))
    size = steps - whole
    if size:
        found[:, whole:] = kernel[:size, :size] @ white[:, whole:]
    return found


@cache
def _averaging(memory: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``(step, step)`` what each w makes of m in a block, and ``(step, 1)`` what m before it does."""
    ages = np.arange(_BLOCK)[:, None] - np.arange(_BLOCK)
    kernel = np.where(ages >= 0, memory ** np.maximum(ages, 0), 0.0) * np.sqrt(1 - memory**2)
    fading = (memory ** np.arange(1, _BLOCK + 1))[:, None]
    return kernel.astype(np.float32), fading.astype(np.float32)
