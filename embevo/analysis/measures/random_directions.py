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
        fresh: ``(walk, step, dimension)`` w.
        share: ``(walk, 1, 1)`` a of each walk.
        white: ``(walk, step, dimension)`` what m is made of; None where a is 0.
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
        """``(walk, step, dimension)`` displacements of these lengths ``(step,)``."""
        return np.concatenate([walk.copy() for walk in self.each(lengths)])

    def each(self, lengths: NDArray[np.float64]) -> Iterator[NDArray[np.float32]]:
        """:meth:`walks` some at a time, in memory that is a core's cache and that the next ones take."""
        count, steps, dimensions = self.fresh.shape
        at_once = min(count, max(1, _PIECE // max(1, steps * dimensions)))
        rows_at_once = max(_BLOCK, _PIECE // (at_once * max(1, dimensions)) // _BLOCK * _BLOCK)
        memory = np.empty((at_once, steps, dimensions), np.float32)
        for start in range(0, count, at_once):
            some = slice(start, min(count, start + at_once))
            walks, fresh = memory[: some.stop - start], self.fresh[some]
            white = None if self.white is None else self.white[some]
            carry = None if self.carry is None else self.carry[some].copy()
            shares = np.sqrt(1 - self.share[some]), np.sqrt(self.share[some])
            for first in range(0, steps, rows_at_once):
                rows = slice(first, first + rows_at_once)
                if white is None or carry is None:
                    np.copyto(walks[:, rows], fresh[:, rows])
                else:
                    self._remember(fresh, white[:, rows], carry, shares, walks=walks, first=first)
                squares = np.einsum("wsd,wsd->ws", walks[:, rows], walks[:, rows])
                if self.compiled:
                    stretch(walks, squares, lengths[rows], first)
                else:
                    walks[:, rows] *= (lengths[rows] / np.sqrt(squares))[..., None].astype(np.float32)
            yield walks

    def _remember(
        self,
        fresh: NDArray[np.float32],
        white: NDArray[np.float32],
        carry: NDArray[np.float32],
        shares: tuple[NDArray[np.float32], NDArray[np.float32]],
        *,
        walks: NDArray[np.float32],
        first: int,
    ) -> None:
        """Make directions of some steps of walks, from ``first`` on; ``carry`` becomes m in the last."""
        kernel, fading = _averaging(self.memory)
        within = _within(white, kernel)
        if self.compiled:
            of_each = shares[0][:, 0, 0], shares[1][:, 0, 0]
            remember((fresh, within), (fading[:, 0], carry[:, 0]), of_each, walks, first)
            return
        _add_fading(within, fading, carry)
        carry[:] = within[:, -1:]
        rows = slice(first, first + within.shape[1])
        np.multiply(fresh[:, rows], shares[0], out=walks[:, rows])
        within *= shares[1]
        walks[:, rows] += within


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
    lengths: NDArray[np.float64],
    directions: Directions,
    count: int,
    draw: Callable[[tuple[int, ...]], NDArray[np.float32]],
    *,
    compiled: bool = False,
) -> Iterator[NDArray[np.float32]]:
    """Displacements of random walks, some at a time.

    Args:
        lengths: ``(step,)`` of each step.
        directions: how they are drawn.
        count: how many walks.
        draw: gives the next standard normal numbers, of a shape.
        compiled: whether steps are made by compiled loops: the same ones, in less time.

    Yields:
        ``(walk, step, dimension)`` float32, ``count`` walks in all: rounding is far below what they scatter.
    """
    for some in drawn(len(lengths), directions, count, draw, compiled=compiled):
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


def _add_fading(within: NDArray[np.float32], fading: NDArray[np.float32], carry: NDArray[np.float32]) -> None:
    """m(t) = beta m(t - 1) + sqrt(1 - beta^2) w(t) along the second axis, stationary, of unit variance.

    Args:
        within: ``(walk, step, dim)`` what the w of each block make of m there, which becomes m.
        fading: ``(step, 1)`` what m before a block makes of it.
        carry: ``(walk, 1, dim)`` m before the first step.
    """
    walk_count, steps, dimensions = within.shape
    whole = steps // _BLOCK
    # What comes in with each block, from the last step of the one before.
    carries = np.empty((walk_count, whole + 1, 1, dimensions), np.float32)
    carries[:, 0] = carry
    last, ends = fading[-1:], within[:, _BLOCK - 1 :: _BLOCK, None]
    for block in range(whole):
        np.multiply(last, carries[:, block], out=carries[:, block + 1])
        carries[:, block + 1] += ends[:, block]
    blocks = within[:, : whole * _BLOCK].reshape(walk_count, whole, _BLOCK, dimensions)
    blocks += fading * carries[:, :-1]
    rest = within[:, whole * _BLOCK :]
    rest += fading[: rest.shape[1]] * carries[:, -1]


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
