"""Random walks of white numbers, step by step, and where they get: rounded as numpy rounds them."""

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import compiled_as_written


@compiled_as_written
def remember(
    drawn: tuple[NDArray[np.float32], NDArray[np.float32]],
    left: tuple[NDArray[np.float32], NDArray[np.float32]],
    shares: tuple[NDArray[np.float32], NDArray[np.float32]],
    walks: NDArray[np.float32],
    first: int,
) -> None:
    """Make directions f w + a m of white w and a moving average m, of some steps.

    Args:
        drawn: ``(walk, step, dim)`` w of all steps, and what m is made of in blocks of some.
        left: ``(step in block,)`` what is left of m before a block. ``(walk, dim)`` m before the first of
            these steps, which becomes m in the last one.
        shares: ``(walk,)`` f and a of each walk.
        walks: ``(walk, step, dim)`` gets the directions.
        first: number of the first of these steps.
    """
    white, within = drawn
    fading, carry = left
    count, steps, dimensions = within.shape
    block = len(fading)
    fresh, averaged = shares
    for number in range(count):
        for start in range(0, steps, block):
            last = min(start + block, steps) - 1
            for step in range(start, last + 1):
                fade = fading[step - start]
                for at in range(dimensions):
                    moving = fade * carry[number, at] + within[number, step, at]
                    walks[number, first + step, at] = (
                        white[number, first + step, at] * fresh[number] + moving * averaged[number]
                    )
            fade = fading[last - start]
            for at in range(dimensions):
                carry[number, at] = fade * carry[number, at] + within[number, last, at]


@compiled_as_written
def stretch(
    walks: NDArray[np.float32], squares: NDArray[np.float32], lengths: NDArray[np.float64], first: int
) -> None:
    """Give some steps their lengths.

    Args:
        walks: ``(walk, step, dim)`` steps, some of which are stretched.
        squares: ``(walk, step)`` squared lengths of these.
        lengths: ``(step,)`` which they get.
        first: number of the first of these steps.
    """
    count, steps = squares.shape
    dimensions = walks.shape[2]
    for number in range(count):
        for step in range(steps):
            scale = np.float32(lengths[step] / np.float64(np.sqrt(squares[number, step])))
            for at in range(dimensions):
                walks[number, first + step, at] *= scale


@compiled_as_written
def add_steps(walk: NDArray[np.float32], rows: NDArray[np.int64], places: NDArray[np.float32]) -> None:
    """Where walks from the origin are after so many steps.

    Args:
        walk: ``(walk, step, dim)`` steps.
        rows: ascending numbers of steps.
        places: ``(walk, row, dim)`` gets the sums, made one step at a time.
    """
    count, _, dimensions = walk.shape
    place = np.empty(dimensions, np.float32)
    for number in range(count):
        place[:] = 0
        done = 0
        for row in range(len(rows)):
            for step in range(done, rows[row]):
                for at in range(dimensions):
                    place[at] += walk[number, step, at]
            done = rows[row]
            places[number, row] = place
