"""What one array of a frame is: dtype, shape at a step, and the names of its axes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Final

import numpy as np

from embevo.errors import FrameMismatchError
from embevo.run.format.dtypes import NUMPY_DTYPES

# Names of arrays that every run has of its own, and of axes.
RESERVED_NAMES: Final = frozenset({"step", "token", "dim", "token_count"})
# A name is a directory of the Zarr group: of parts between single dots or hyphens, so that none is "..", and
# short enough for every file system.
_NAME: Final = re.compile(r"(?=.{1,128}\Z)[A-Za-z][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")
_AXIS: Final = re.compile(r"(?=.{1,128}\Z)[A-Za-z][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")
# What embevo's own writes that were cut short end in, and what Zarr calls its metadata.
_TAKEN_ENDINGS: Final = (".partial", ".json")
MOST_AXES: Final = 3


@dataclass(frozen=True)
class ArraySpec:
    """One array of a step.

    Attributes:
        dtype: its name, a key of :data:`~embevo.run.format.dtypes.NUMPY_DTYPES`.
        shape: at one step, of 1 to 3 axes.
        dimensions: names of these axes; ``token`` is the vocabulary, and then the first.
    """

    dtype: str
    shape: tuple[int, ...]
    dimensions: tuple[str, ...]

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The numpy dtype; bfloat16 is that of ml_dtypes."""
        return NUMPY_DTYPES[self.dtype]

    @cached_property
    def nbytes(self) -> int:
        """Bytes at one step."""
        return prod(self.shape) * self.numpy_dtype.itemsize


def check_name(name: str) -> None:
    """Raise FrameMismatchError unless this can name an array or a scalar."""
    if (
        not isinstance(name, str)
        or not _NAME.fullmatch(name)
        or name in RESERVED_NAMES
        or name.endswith(_TAKEN_ENDINGS)
    ):
        raise FrameMismatchError(
            f"{name!r} cannot name an array: use letters, digits and underscores, starting with a "
            "letter, in parts joined by single dots or hyphens, at most 128 in all, and none of "
            f"{', '.join(sorted(RESERVED_NAMES))}"
        )


def spec_of(name: str, dtype: str, shape: Sequence[int], dimensions: Sequence[str]) -> ArraySpec:
    """The array of this name, checked.

    Raises:
        FrameMismatchError: its dtype is not recorded, or its axes are too many, empty or badly named.
    """
    if dtype not in NUMPY_DTYPES:
        raise FrameMismatchError(
            f"{name} is {dtype}; embevo records {', '.join(NUMPY_DTYPES)}. Convert it to one of these."
        )
    if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1:
        raise FrameMismatchError(
            f"{name} has the shape {tuple(shape)}; embevo records arrays of 1 to {MOST_AXES} axes, none of "
            "them empty. Reshape it, as by a callable, Recorder(run, {'matrix': lambda: weight.flatten(1)}), "
            "or record a number with scalars=."
        )
    named = tuple(dimensions)
    bad = [axis for axis in named if not isinstance(axis, str) or not _AXIS.fullmatch(axis) or axis == "step"]
    if len(named) != len(shape) or len(set(named)) != len(named) or bad or "token" in named[1:]:
        raise FrameMismatchError(
            f"{name} has {len(shape)} axes; its dimensions are {named}: name each axis once, with letters, "
            "digits and underscores, not step, and token only for the first"
        )
    return ArraySpec(dtype, tuple(int(size) for size in shape), named)


def default_dimensions(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, ...]]:
    """Dimension names for arrays of these shapes by name, where nobody has given any.

    The first array of two axes is ``(token, dim)``, and so is every other of its shape. What has another
    number of axes or another shape gets axes of its own, named after the array: a length alone does not say
    what it counts.
    """
    plain = next((shape for shape in shapes.values() if len(shape) == 2), None)
    return {
        name: ("token", "dim") if shape == plain else tuple(f"{name}_{axis}" for axis in range(len(shape)))
        for name, shape in shapes.items()
    }
