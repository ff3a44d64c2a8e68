"""What the page tells of one token: its way through the run, its neighbours, the bits of its numbers."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.lattice import displacement, places
from embevo.errors import ArgumentError
from embevo.run.format.widening import narrow
from embevo.viewer.opened import OpenedRun

_NEIGHBOURS: Final = 8
# Steps at which neighbours are looked for, evenly spaced in the logarithm.
_LOOKS: Final = 12
# Elements whose bits are told of one vector.
_MOST_ELEMENTS: Final = 4096


class Stories:
    """Of the tokens of one matrix; tokens are given by position among the recorded ones."""

    def __init__(self, opened: OpenedRun) -> None:
        """Nothing is read before it is asked for."""
        self._opened = opened

    def way(self, token: int) -> dict[str, Any]:
        """Its norm, displacement and motion in ULPs at every row, as lists over the rows.

        ``norm`` |x(t)|, ``moved`` |x(t) - x(t-1)|, ``away`` |x(t) - x(0)|, in embedding units, and ``ulps``,
        the largest element of the displacement in units in the last place; 0 in the first row, None where it
        is not a number. ``last_motion`` is the step at which it moved for the last time; None if it never
        did.
        """
        self._check(token)
        recorded, steps = self._opened.column(token), self._opened.steps
        values = recorded.astype(np.float64)
        lattice = places(recorded, self._opened.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            before = np.concatenate([values[:1], values[:-1]])
            moved = np.linalg.norm(values - before, axis=1)
            steps_away = displacement(lattice, np.concatenate([lattice[:1], lattice[:-1]]))
            ulps = np.where(np.isnan(values - before).any(axis=1), np.nan, steps_away.max(axis=1))
        motion = np.flatnonzero(ulps > 0)
        return {
            "rows": len(values),
            "norm": _plain(np.linalg.norm(values, axis=1)),
            "moved": _plain(moved),
            "away": _plain(np.linalg.norm(values - values[0], axis=1)),
            "ulps": _plain(ulps),
            "last_motion": int(steps[motion[-1]]) if len(motion) else None,
        }

    def neighbours(self, token: int) -> dict[str, Any]:
        """The nearest other tokens by Euclidean distance, at some rows from the first to the last."""
        self._check(token)
        rows, _, _ = self._opened.shape
        looks = np.unique(np.rint(np.geomspace(1, rows, min(_LOOKS, rows))).astype(np.int64) - 1)
        return {"looks": [self.near(token, int(row)) for row in looks]}

    def near(self, token: int, row: int) -> dict[str, Any]:
        """The nearest other tokens at one row, nearest first, with their distances in embedding units."""
        self._check(token)
        points = self._row(row).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.linalg.norm(points - points[token], axis=1)
        distance[token] = np.inf
        distance[np.isnan(distance)] = np.inf
        count = min(_NEIGHBOURS, len(distance) - 1)
        order = np.argsort(distance, kind="stable")[:count]
        order = order[np.isfinite(distance[order])]
        return {
            "row": row,
            "step": int(self._opened.steps[row]),
            "tokens": order.tolist(),
            "distances": [float(distance[other]) for other in order],
        }

    def bits(self, token: int, row: int) -> dict[str, Any]:
        """Its numbers at one row, in decimal so that they are told apart, and their bits in hexadecimal."""
        self._check(token)
        vector = self._row(row)[token][:_MOST_ELEMENTS]
        dtype = self._opened.dtype
        stored = narrow(vector[None], dtype)[0] if dtype.itemsize == 2 else vector.astype(dtype)
        width = dtype.itemsize
        numbers = stored.view(f"u{width}")
        return {
            "row": row,
            "step": int(self._opened.steps[row]),
            "dtype": dtype.name,
            "dim": self._opened.shape[2],
            "values": [repr(float(value)) if width > 2 else f"{float(value):.9g}" for value in vector],
            "bits": [f"{int(number):0{2 * width}x}" for number in numbers],
        }

    def _check(self, token: int) -> None:
        tokens = self._opened.shape[1]
        if not 0 <= token < tokens:
            raise ArgumentError(f"there is no token at position {token} of {tokens:,}")

    def _row(self, row: int) -> NDArray[Any]:
        rows = self._opened.shape[0]
        if not 0 <= row < rows:
            raise ArgumentError(f"there is no row {row} of {rows:,}")
        vectors: NDArray[Any] = self._opened.values(slice(row, row + 1))[0]
        return vectors


def _plain(numbers: NDArray[np.floating]) -> list[float | None]:
    """JSON values: to seven digits, None for what is not finite."""
    return [float(f"{number:.7g}") if np.isfinite(number) else None for number in numbers.tolist()]
