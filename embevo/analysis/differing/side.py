"""One of two recordings that are compared: its arrays, its steps, and how rows of them are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = slice | NDArray[np.int64]
# Reads rows by position, and tokens by position where the first axis is cut; None for all of it.
Read = Callable[[Rows, NDArray[np.int64] | None], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Recorded:
    """One array of a recording.

    Attributes:
        dtype: in which the model has it.
        stored: of what reading gives; values of ``dtype``, widened exactly where it is another.
        shape: at one step; empty for a number a step.
        read: gives ``(row, *shape)``.
        dimensions: names of these axes; empty where they have none.
        tokens: ids along the first axis, ascending; None where nobody says what its rows are.
        vocabulary: how many tokens there are in all, where ``tokens`` are known.
    """

    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    read: Read
    dimensions: tuple[str, ...] = ()
    tokens: NDArray[np.int64] | None = None
    vocabulary: int = 0


@dataclass(frozen=True, eq=False)
class Side:
    """A recording.

    Attributes:
        path: where it lies.
        kind: what it is, in words.
        steps: ``(row,)`` int64 global step of each row, ascending.
        arrays: by name.
        block_rows: how many rows are good to read at once.
        settings: what it says of itself, nested.
        labels: what tokens are called, by id, where it knows their texts.
        is_state: it is one state, which is compared with another whatever the steps of both are.
        is_unnamed: its one array has no name of its own, and is compared with the main one of the other.
        main: the array that it is about.
    """

    path: str
    kind: str
    steps: NDArray[np.int64]
    arrays: Mapping[str, Recorded]
    block_rows: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    is_state: bool = False
    is_unnamed: bool = False
    main: str = ""
