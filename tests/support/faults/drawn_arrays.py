"""What a recording may be of: arrays of one to three axes, any dtypes, all tokens or some, and scalars."""

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray

from support import encoded

DTYPES = (*encoded.DTYPES, *encoded.OTHER_DTYPES)


@dataclass(frozen=True)
class DrawnArray:
    """One array, and what it holds at every step.

    Attributes:
        shape: of the tensor that is handed to the recorder, of the whole vocabulary where it is along it.
        dimensions: names of its axes.
        ids: rows of it that are recorded; None for all.
        seed: of its values.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dimensions: tuple[str, ...]
    ids: tuple[int, ...] | None
    seed: int

    def source(self, steps: list[int]) -> NDArray[Any]:
        """``(step, ...)`` what the tensor holds at these steps."""
        return encoded.matrices(steps, self.shape, self.dtype, self.seed)

    def expected(self, steps: list[int]) -> NDArray[Any]:
        """``(step, ...)`` what is recorded of it."""
        values = self.source(steps)
        return values if self.ids is None else values[:, list(self.ids)]


@dataclass(frozen=True)
class DrawnFrame:
    """All that is taken at a step.

    Attributes:
        ids: tokens that are recorded; None for all.
        scalars: names, beside those that every run has.
    """

    arrays: tuple[DrawnArray, ...]
    ids: tuple[int, ...] | None = None
    scalars: tuple[str, ...] = ()

    @property
    def token_ids(self) -> list[int]:
        """What the array ``token`` holds; empty where there is none."""
        along = [array for array in self.arrays if array.dimensions[0] == "token"]
        if not along:
            return []
        return list(range(along[0].shape[0])) if self.ids is None else list(self.ids)


@cache
def matrix_frame(shape: tuple[int, ...], dtype: str, seed: int) -> DrawnFrame:
    """The matrix of a plain recording."""
    return DrawnFrame((DrawnArray("embeddings", dtype, shape, ("token", "dim"), None, seed),))


@cache
def draw_frame(number: int, seed: int) -> DrawnFrame:
    """The arrays of this number: the same ones every time, with the values of a seed."""
    rng = random.Random(f"arrays {number}")
    vocabulary = rng.randrange(1, 12)
    ids = None
    if rng.random() < 0.5:
        ids = tuple(sorted(rng.sample(range(vocabulary), rng.randrange(1, vocabulary + 1))))
    arrays = []
    for index in range(rng.choice([1, 2, 2, 3])):
        # Of chosen tokens there must be an array.
        along = rng.random() < 0.5 or (index == 0 and ids is not None)
        axes = rng.choice([1, 2, 3])
        first = vocabulary if along else rng.randrange(1, 7)
        arrays.append(
            DrawnArray(
                name=rng.choice(["weight", "h.0.attn", "Mask-"]) + str(index),
                dtype=rng.choice(DTYPES),
                shape=(first, rng.randrange(1, 8), rng.randrange(1, 4))[:axes],
                dimensions=("token" if along else f"row{index}", f"column{index}", f"depth{index}")[:axes],
                ids=ids if along else None,
                seed=seed + 1000 * (index + 1),
            )
        )
    scalars = tuple(rng.sample(["grad_norm", "accuracy"], rng.randrange(3)))
    return DrawnFrame(tuple(arrays), ids, scalars)


def scalar_of(name: str, step: int, seed: int) -> float:
    """A scalar that was recorded at a step: it, too, says where it belongs; at odd steps there was none."""
    return encoded.loss_of(step, seed) + len(name) / 100 if step % 2 == 0 else float("nan")
