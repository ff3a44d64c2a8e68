"""Random walks of white numbers, step by step, and where they get: rounded as numpy rounds them."""

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import compiled_as_written


@compiled_as_written
def remember(
    walk: NDArray[np.float32],
    within: NDArray[np.float32],
    fading: NDArray[np.float32],
    carry: NDArray[np.float32],
    shares: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Add the moving average m to directions w: f w + a m.

    Args:
        walk: ``(walk, step, dim)`` w, which becomes the sum.
        within: ``(walk, step, dim)`` what m is made of in its block.
        fading: ``(step in block,)`` what is left of m before a block.
        carry: ``(walk, dim)`` m before the first step, which becomes m in the last one.
        shares: ``(walk,)`` f and a of each walk.
    """
    count, steps, dimensions = walk.shape
    block = len(fading)
    fresh, averaged = shares
    for number in range(count):
        for start in range(0, steps, block):
            last = min(start + block, steps) - 1
            for step in range(start, last + 1):
                left = fading[step - start]
                for at in range(dimensions):
                    moving = left * carry[number, at] + within[number, step, at]
                    walk[number, step, at] = (
                        walk[number, step, at] * fresh[number] + moving * averaged[number]
                    )
            left = fading[last - start]
            for at in range(dimensions):
                carry[number, at] = left * carry[number, at] + within[number, last, at]


@compiled_as_written
def stretch(walk: NDArray[np.float32], squares: NDArray[np.float32], lengths: NDArray[np.float64]) -> None:
    """Give steps their lengths.

    Args:
        walk: ``(walk, step, dim)`` steps, which are stretched.
        squares: ``(walk, step)`` their squared lengths.
        lengths: ``(step,)`` which they get.
    """
    count, steps, dimensions = walk.shape
    for number in range(count):
        for step in range(steps):
            scale = np.float32(lengths[step] / np.float64(np.sqrt(squares[number, step])))
            for at in range(dimensions):
                walk[number, step, at] *= scale


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
