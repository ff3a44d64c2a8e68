"""Surrogates of a trajectory: what keeps some of what was recorded, and leaves the rest to chance."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.nulls.trajectory import Trajectory, rounded, wide
from embevo.errors import ArgumentError, MissingLibraryError

Kind = Literal["brownian", "shuffled-steps", "shuffled-tokens", "adamw-noise"]
KINDS: Final[tuple[Kind, ...]] = ("brownian", "shuffled-steps", "shuffled-tokens", "adamw-noise")
# Consecutive rows of each array, by its name.
Block = Mapping[str, NDArray[Any]]


class Surrogates(Protocol):
    """Makes trajectories of one kind."""

    def blocks(self, drawn: np.random.Generator) -> Iterator[Block]:
        """One surrogate: rows from the first to the last, in the recorded dtype, by name of the array."""


def surrogates_of(of: Trajectory, kind: str, optimizer: Mapping[str, Any] | None = None) -> Surrogates:
    """What makes surrogates of a kind; what it needs of the run is read now.

    Raises:
        ArgumentError: there is no such kind, or a setting of the optimizer is none.
        AnalysisError: the run does not hold what the kind needs; the message says what is missing.
        MissingLibraryError: the kind computes with torch, and torch is not installed.
    """
    match kind:
        case "brownian":
            return Brownian(of)
        case "shuffled-steps":
            return ShuffledSteps(of)
        case "shuffled-tokens":
            return ShuffledTokens(of)
        case "adamw-noise":
            try:
                # The arithmetic is torch's own; no other kind needs it.
                from embevo.analysis.auditing.noise import Noise  # noqa: PLC0415
            except ModuleNotFoundError as error:
                if error.name != "torch":
                    raise
                raise MissingLibraryError("Noise is stepped on by torch itself: pip install torch") from error
            return Noise(of, optimizer)
    raise ArgumentError(f"there is no kind {kind!r} of surrogate; there are {', '.join(KINDS)}")


class Brownian:
    """Every token takes its recorded steps in random directions: each as long as it was, and independent.

    Positions are added up in float64 and rounded to the recorded dtype where they are given, so that a step
    is as long as recorded within half a unit in the last place of each element at either end.
    """

    def __init__(self, of: Trajectory) -> None:
        """Measure the steps of a trajectory."""
        self._of = of
        self._lengths = np.empty((of.shape[0] - 1, of.shape[1]))
        before: NDArray[np.float64] | None = None
        row = 0
        for block in of.blocks():
            for start in range(0, len(block), of.rows_at_once):
                values = wide(block[start : start + of.rows_at_once])
                if before is None:
                    self._start, before = values[0], values[0]
                    values = values[1:]
                path = np.concatenate([before[None], values])
                with np.errstate(invalid="ignore"):
                    self._lengths[row : row + len(values)] = np.linalg.norm(np.diff(path, axis=0), axis=2)
                row, before = row + len(values), path[-1].copy()

    def blocks(self, drawn: np.random.Generator) -> Iterator[Block]:
        """One walk."""
        _, tokens, dim = self._of.shape

        def moved(rows: slice) -> NDArray[np.float64]:
            lengths = self._lengths[rows]
            steps = drawn.standard_normal((len(lengths), tokens, dim))
            steps *= (lengths / np.linalg.norm(steps, axis=2))[..., None]
            return steps

        for values in _walked(self._of, self._start, moved):
            yield {self._of.name: values}


class ShuffledSteps:
    """All tokens take their recorded steps together, in another order: the end is the same.

    Positions are added up in float64 and rounded to the recorded dtype where they are given.
    """

    def __init__(self, of: Trajectory) -> None:
        """Hold a trajectory."""
        self._of = of
        self._values = of.held

    def blocks(self, drawn: np.random.Generator) -> Iterator[Block]:
        """One order of the steps."""
        order = drawn.permutation(len(self._values) - 1)

        def moved(rows: slice) -> NDArray[np.float64]:
            taken = order[rows]
            with np.errstate(invalid="ignore"):
                return wide(self._values[taken + 1]) - wide(self._values[taken])

        for values in _walked(self._of, wide(self._values[0]), moved):
            yield {self._of.name: values}


class ShuffledTokens:
    """Every trajectory is another token's, bit for bit: counts, texts and groups are dealt anew."""

    def __init__(self, of: Trajectory) -> None:
        """Take a trajectory; it is read for every surrogate, unless it is small."""
        self._of = of
        of.hold()

    def blocks(self, drawn: np.random.Generator) -> Iterator[Block]:
        """One dealing."""
        order = drawn.permutation(self._of.shape[1])
        for block in self._of.blocks():
            yield {self._of.name: block[:, order]}


class _Moved(Protocol):
    def __call__(self, rows: slice) -> NDArray[np.float64]:
        """``(row, token, dim)`` the steps of these numbers."""


def _walked(of: Trajectory, start: NDArray[np.float64], moved: _Moved) -> Iterator[NDArray[Any]]:
    """Positions from a start on, added up in float64 over all steps, and rounded where they are given."""
    yield rounded(start[None], of.dtype)
    last = start
    for first in range(0, of.shape[0] - 1, of.rows_at_once):
        path = moved(slice(first, first + of.rows_at_once))
        path[0] += last
        np.cumsum(path, axis=0, out=path)
        last = path[-1].copy()
        yield rounded(path, of.dtype)
