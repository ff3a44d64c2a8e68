"""Black holes: two or more tokens whose rows are the same in every bit. How many, how populous, how large."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Census:
    """What there is at each step, ``(step,)`` int64.

    Attributes:
        distinct: different rows.
        holes: black holes.
        population: tokens in black holes.
        largest: tokens in the most populous one; 0 if there is none.
    """

    distinct: NDArray[np.int64]
    holes: NDArray[np.int64]
    population: NDArray[np.int64]
    largest: NDArray[np.int64]

    @classmethod
    def of(cls, representatives: NDArray[np.int64]) -> "Census":
        """Count ``(step, token)`` representatives of the tokens of a group: equal where rows are."""
        steps, tokens = representatives.shape
        if not tokens:
            nothing = np.zeros(steps, np.int64)
            return cls(nothing, nothing, nothing, nothing)
        # How many tokens each row of the matrix stands for; those of one step follow those of another.
        size = 1 + int(representatives.max())
        flat = representatives + size * np.arange(steps)[:, None]
        shared = np.bincount(flat.ravel(), minlength=steps * size).reshape(steps, size)
        distinct = np.count_nonzero(shared, axis=1)
        shared[shared < 2] = 0
        return cls(distinct, np.count_nonzero(shared, axis=1), shared.sum(axis=1), shared.max(axis=1))


def membership(representatives: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(token,)`` int64 black hole of each token at one step, -1 for none.

    They are numbered by size, the most populous 0; of equal ones the one with the smallest token id first.
    """
    first, inverse, count = np.unique(representatives, return_inverse=True, return_counts=True)
    # first is ascending, so the stable sort leaves ties in the order of token ids.
    order = np.argsort(-count, kind="stable")
    number = np.empty(len(first), np.int64)
    number[order] = np.arange(len(first))
    number[count < 2] = -1
    return number[inverse]


def jaccard(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Size of the intersection over size of the union of two sets of ids; NaN if both are empty."""
    union = len(np.union1d(one, other))
    return len(np.intersect1d(one, other)) / union if union else float("nan")
