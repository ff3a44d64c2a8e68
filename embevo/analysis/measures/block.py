"""Consecutive rows with the row before them, and what several measures need of both, worked out once."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.clouds import Clouds
from embevo.analysis.measures.geometry import sum_of_units
from embevo.analysis.measures.identity import representatives
from embevo.analysis.measures.lattice import bits_of
from embevo.analysis.measures.moves import Moves
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.pinning import pinned_from
from embevo.analysis.measures.spectra import Spectra
from embevo.run.format.widening import widen

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Row:
    """The row before a block.

    Attributes:
        values: ``(token, dim)`` float32 or float64 that hold what was recorded exactly.
        bits: ``(token, dim)`` of the values in the recorded dtype, as signed numbers of its width.
        same: ``(token,)`` int64 smallest token whose row has the same bits.
    """

    values: NDArray[Any]
    bits: NDArray[np.signedinteger[Any]]
    same: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], dtype: np.dtype[Any]) -> "Row":
        """Of ``(token, dim)`` values that were recorded in a dtype."""
        return cls(values, bits_of(values, dtype), representatives(values[None])[0])


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of a matrix. Its arrays are shared by all measures, which leave them as they are.

    Attributes:
        outline: of the whole matrix.
        start: number of the first of these rows.
        recorded: ``(step, token, dim)`` as recorded, or float32 that hold that exactly.
        before: the row before the first; None where there is none, at the start of the run.
    """

    outline: Outline
    start: int
    recorded: NDArray[Any]
    before: Row | None
    _spectra: dict[tuple[int, int], Spectra] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        """Number of the row after the last."""
        return self.start + len(self.recorded)

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

    @property
    def values(self) -> NDArray[Any]:
        """``(step, token, dim)`` float32 or float64 that hold what was recorded exactly."""
        return self.extended[1:]

    @cached_property
    def extended(self) -> NDArray[Any]:
        """``(1 + step, token, dim)`` these values, and first the row before; that of a run is its own."""
        values = widen(self.recorded)
        found = np.empty((1 + len(values), *values.shape[1:]), values.dtype)
        found[0] = values[0] if self.before is None else self.before.values
        found[1:] = values
        return found

    @cached_property
    def bits(self) -> NDArray[np.signedinteger[Any]]:
        """``(step, token, dim)`` bits of what was recorded, as signed numbers of its width."""
        return bits_of(self.recorded, self.outline.dtype)

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """``(step, token, dim)`` float64 values."""
        return self.values.astype(np.float64)

    @cached_property
    def velocity(self) -> NDArray[np.float64]:
        """``(step, token, dim)`` displacement from the row before, however many steps lie between."""
        first = self.extended[0]
        apart = np.empty_like(self.points)
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(self.points[0], first, out=apart[0])
            np.subtract(self.points[1:], self.points[:-1], out=apart[1:])
        return apart

    @cached_property
    def limit(self) -> NDArray[np.float64]:
        """``(step,)`` magnitude from which on elements are pinned at the learning rate; NaN if not known."""
        rate = self.outline.scalars.get("learning_rate", np.full(self.outline.rows, np.nan))
        found = pinned_from(rate[self.start : self.stop], self.outline.dtype)
        if self.before is None:
            found[0] = np.nan
        return found

    @cached_property
    def moves(self) -> Moves:
        """What the elements of each token do; the first row of a run is its own row before."""
        before = self.bits[0] if self.before is None else self.before.bits
        return Moves.of(self.bits, before, self.limit, self.outline.dtype, compiled=self.outline.compiled)

    @cached_property
    def same(self) -> NDArray[np.int64]:
        """``(step, token)`` int64 smallest token whose row has the same bits."""
        return representatives(self.bits)

    @property
    def lengths(self) -> NDArray[np.float64]:
        """``(step, token)`` Euclidean norm of every vector."""
        return self.clouds.lengths

    @property
    def distances(self) -> NDArray[np.float64]:
        """``(step, token)`` Euclidean norm of every displacement from the row before."""
        return self.flows.lengths

    @cached_property
    def lost(self) -> NDArray[np.bool_]:
        """``(step, token)`` whether an element is not a number, in this row or in the one before."""
        # A norm is not a number where an element is none; that of an infinity is infinite.
        now: NDArray[np.bool_] = np.isnan(self.lengths)
        before = now[:1] if self.before is None else np.isnan(self.before.values).any(axis=1)[None]
        return np.asarray(now | np.concatenate([before, now[:-1]]))

    @cached_property
    def clouds(self) -> Clouds:
        """The tokens of each group at each row."""
        atoms = self.outline.groups.atoms
        if self.outline.compiled:
            return Clouds.compiled(self.extended, atoms, less=False)
        return Clouds.of(self.points, atoms)

    @cached_property
    def flows(self) -> Clouds:
        """Their displacements, as points."""
        atoms = self.outline.groups.atoms
        if self.outline.compiled:
            return Clouds.compiled(self.extended, atoms, less=True)
        return Clouds.of(self.velocity, atoms)

    def directions(self, group: int) -> NDArray[np.float64]:
        """``(step, dim)`` sum of the unit vectors of a group's displacements; what stays has none."""
        units = self.flows.units
        if units is not None:
            return np.asarray(units[:, self.outline.groups.atoms.of_groups[group]].sum(axis=1), np.float64)
        ids = self.outline.groups.ids[group]
        return sum_of_units(of_group(self.velocity, ids), of_group(self.distances, ids))

    @property
    def last(self) -> Row:
        """The last row, for the block that comes next."""
        # A view would keep the rows before it in memory.
        return Row(self.values[-1].copy(), self.bits[-1].copy(), self.same[-1].copy())


def of_group(values: NDArray[Scalar], ids: NDArray[np.int64]) -> NDArray[Scalar]:
    """The columns of a group of tokens, axis 1; no copy if that is all of them."""
    return values if len(ids) == values.shape[1] else values[:, ids]
