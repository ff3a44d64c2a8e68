"""Consecutive rows with the row before them, and what several measures need of both, worked out once."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.geometry import Cloud, norms
from embevo.analysis.measures.identity import representatives
from embevo.analysis.measures.lattice import displacement, places
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.spectra import Spectra


@dataclass(frozen=True, eq=False)
class Row:
    """The row before a block.

    Attributes:
        points: ``(token, dim)`` float64.
        places: ``(token, dim)`` on the lattice of the recorded dtype.
        same: ``(token,)`` int64 smallest token whose row has the same bits.
    """

    points: NDArray[np.float64]
    places: NDArray[np.integer]
    same: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], dtype: np.dtype[Any]) -> "Row":
        """Of ``(token, dim)`` values that were recorded in a dtype."""
        return cls(values.astype(np.float64), places(values, dtype), representatives(values[None])[0])


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of a matrix. Its arrays are shared by all measures, which leave them as they are.

    Attributes:
        outline: of the whole matrix.
        start: number of the first of these rows.
        values: ``(step, token, dim)`` float32 or float64 that hold what was recorded exactly.
        before: the row before the first; None where there is none, at the start of the run.
    """

    outline: Outline
    start: int
    values: NDArray[Any]
    before: Row | None
    _clouds: dict[int, Cloud] = field(default_factory=dict)
    _spectra: dict[tuple[int, int], Spectra] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        """Number of the row after the last."""
        return self.start + len(self.values)

    @property
    def measured(self) -> list[int]:
        """Places of those rows in the block that costly measures are taken at."""
        chosen = self.outline.measured
        return [int(row) - self.start for row in chosen[(chosen >= self.start) & (chosen < self.stop)]]

    def spectra(self, place: int, group: int) -> Spectra:
        """How wide the tokens of a group are in each direction, in the row at a place of the block."""
        key = (place, group)
        if key not in self._spectra:
            ids = self.outline.groups.ids[group]
            row = self.points[place]
            self._spectra[key] = Spectra.of(row if len(ids) == len(row) else row[ids])
        return self._spectra[key]

    @property
    def steps(self) -> NDArray[np.int64]:
        """``(step,)`` global steps of the rows."""
        return self.outline.steps[self.start : self.stop]

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """``(step, token, dim)`` float64 values."""
        return self.values.astype(np.float64)

    @cached_property
    def earlier(self) -> NDArray[np.float64]:
        """``(step, token, dim)`` the points one row before; the first row of a run is its own."""
        first = self.points[0] if self.before is None else self.before.points
        return np.concatenate([first[None], self.points[:-1]])

    @cached_property
    def velocity(self) -> NDArray[np.float64]:
        """``(step, token, dim)`` displacement from the row before, however many steps lie between."""
        first = self.points[0] if self.before is None else self.before.points
        apart = np.empty_like(self.points)
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(self.points[0], first, out=apart[0])
            np.subtract(self.points[1:], self.points[:-1], out=apart[1:])
        return apart

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """``(step, token)`` Euclidean norm of every displacement from the row before."""
        return norms(self.velocity)

    @cached_property
    def places(self) -> NDArray[np.integer]:
        """``(step, token, dim)`` the number of each value among those that the dtype can represent."""
        return places(self.values, self.outline.dtype)

    @property
    def first_places(self) -> NDArray[np.integer]:
        """``(token, dim)`` places in the row before the first; the first row of a run is its own."""
        return self.places[0] if self.before is None else self.before.places

    @cached_property
    def ulps(self) -> NDArray[np.int32] | NDArray[np.float64]:
        """``(step, token, dim)`` distance in ULPs from the row before; what is not a number has a place.

        int32 of what was recorded in 16 bits, else float64.
        """
        if self.outline.dtype.itemsize == 2:
            steps = np.empty(self.places.shape, np.int32)
            np.subtract(self.places[0], self.first_places, out=steps[0])
            np.subtract(self.places[1:], self.places[:-1], out=steps[1:])
            return np.abs(steps, out=steps)
        apart = np.empty(self.places.shape)
        apart[:1] = displacement(self.places[:1], self.first_places[None])
        apart[1:] = displacement(self.places[1:], self.places[:-1])
        return apart

    @cached_property
    def moved(self) -> NDArray[np.bool_]:
        """``(step, token, dim)`` whether a number is another than in the row before; +0 and -0 are one."""
        return np.asarray(self.ulps != 0)

    @cached_property
    def same(self) -> NDArray[np.int64]:
        """``(step, token)`` int64 smallest token whose row has the same bits."""
        return representatives(self.values)

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """``(step, token)`` Euclidean norm of every vector."""
        return norms(self.points)

    @cached_property
    def has_nan(self) -> bool:
        """Whether a value of these rows, or of the row before them, is not a number."""
        # A norm is not a number where an element is none; that of an infinity is infinite.
        before = False if self.before is None else np.isnan(self.before.points).any()
        return bool(np.isnan(self.lengths).any() or before)

    def cloud(self, group: int) -> Cloud:
        """The tokens of a group at each row."""
        if group not in self._clouds:
            self._clouds[group] = Cloud.of(self.points, self.outline.groups.ids[group])
        return self._clouds[group]

    @property
    def last(self) -> Row:
        """The last row, for the block that comes next."""
        row = Row(self.points[-1], self.places[-1], self.same[-1])
        # A view would keep the rows before it in memory; of a single row there are none.
        return row if len(self.values) == 1 else Row(row.points.copy(), row.places.copy(), row.same.copy())


def of_group(values: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """The columns of a group of tokens, axis 1; no copy if that is all of them."""
    return values if len(ids) == values.shape[1] else values[:, ids]
