"""Mean squared displacement and velocity autocorrelation against lag, in one pass and little memory.

Lags are 1..8, 10, 12, 14, 16, 20, ... recorded intervals: four an octave. Up to lag 32 every row is an
origin; at longer lags every 2^k-th, 2^k being at most a twentieth of the lag, from row 2^(k-1) since the
start on: each origin stands for the stretch around it, and the first rows, where a run moves most, are not
counted for more than they last. Further origins would overlap almost wholly with these. This is the block
scheme of multiple-tau correlators (Magatti and Ferri 2001; Ramírez et al., J. Chem. Phys. 133, 154103, 2010),
thinned instead of averaged, so that each term is a difference of two recorded matrices.

Of consecutive rows no difference is taken, as a rule: :mod:`embevo.analysis.measures.gram` has all of them
from one product of matrices. Of rows that are further apart few are paired, and their differences take less
time. Either is done of some tokens at a time, so that all rows of these stay in the cache of a core.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.pairs import add_pairs
from embevo.analysis.measures.atoms import Atoms
from embevo.analysis.measures.gram import squared_distances
from embevo.analysis.measures.level import PER_LEVEL, Level, Rows

# Lags are 1 to this many, and from there on four an octave.
_OCTAVE: Final = 8
# Origins are kept apart in so many stretches of time, for the uncertainty.
SEGMENTS: Final = 10
# Rows that are paired at once with those before them: consecutive ones, and others.
_WINDOW: Final = 64
_FEWER: Final = 32
# Elements of the tokens that are worked on at once.
_PIECE: Final = 1 << 15


def lags_of(rows: int) -> NDArray[np.int64]:
    """The lags, in recorded intervals, up to half of the rows."""
    lags = list(range(1, _OCTAVE + 1))
    unit = 2
    while unit * (_OCTAVE // 2 + 1) <= rows // 2:
        lags += [unit * m for m in range(_OCTAVE // 2 + 1, _OCTAVE + 1)]
        unit *= 2
    return np.array([lag for lag in lags if lag <= rows // 2], np.int64)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows ``(late, lag)``.

    Attributes:
        rows: from which they are.
        late: ``(late, 1)`` number of the later one among them.
        early: ``(late, lag)`` of the earlier one.
        known: ``(late, lag)`` whether there is such a pair; where there is none, the two are one row.
        consecutive: whether no recorded row lies between two of the rows.
    """

    rows: Rows
    late: NDArray[np.int64]
    early: NDArray[np.int64]
    known: NDArray[np.bool_]
    consecutive: bool


class LagSums:
    """Sums over origins, fed with consecutive rows; those of two adjacent stretches can be merged.

    Attributes:
        lags: ``(lag,)`` int64 recorded intervals.
        squares: ``(segment, lag, group)`` sum over origins of the group's mean of |x(t+l) - x(t)|^2.
        origins: ``(segment, lag)`` int64 how many origins.
        products: ``(lag, group)`` sum over origins of the group's mean of v(t+l) . v(t).
        powers: ``(lag, group)`` sum over origins of the group's mean of (|v(t+l)|^2 + |v(t)|^2) / 2.
    """

    def __init__(
        self, rows: int, groups: Sequence[NDArray[np.int64]], since: int = 0, *, compiled: bool = False
    ) -> None:
        """Expect rows of points.

        Args:
            rows: how many the run has.
            groups: of the points, those that are averaged.
            since: how many rows lie between the last gap, or the start of the run, and the first row to come.
            compiled: whether loops are machine code.
        """
        self.lags = lags_of(rows)
        self._rows = rows
        self._groups = groups
        atoms = Atoms.of(groups)
        self._order = None if atoms.in_order else atoms.order
        self._atoms, self._atoms_of = atoms.places, atoms.of_groups
        self._compiled = compiled
        shape = (len(self.lags), len(groups))
        self.squares = np.zeros((SEGMENTS, *shape))
        self.origins = np.zeros((SEGMENTS, len(self.lags)), np.int64)
        self.products = np.zeros(shape)
        self.powers = np.zeros(shape)
        self._levels: dict[int, Level] = {}
        # The first rows of each level, for pairs with rows of the stretch before.
        self._heads: dict[int, Rows] = {}
        self._since = since
        self._joins = since > 0

    def restart(self) -> None:
        """After a gap: what comes next is not paired with what came before."""
        self.settle()
        self._levels.clear()
        self._since = 0
        self._joins = False

    def settle(self) -> None:
        """Add the pairs of all rows that came in: rows wait for others, as many take less time together."""
        for spacing in self._levels:
            self._pair(spacing)

    def merge(self, later: Self) -> None:
        """Take over the sums of the stretch that comes right after, and add the pairs that reach across."""
        self.settle()
        later.settle()
        self.squares += later.squares
        self.origins += later.origins
        self.products += later.products
        self.powers += later.powers
        for spacing, head in later._heads.items():
            if spacing in self._levels:
                self._levels[spacing].append(head)
                self._pair(spacing, across=True)
            if self._joins:
                self._keep_head(spacing, head)
        if not later._joins:
            self._levels = later._levels
        else:
            # Where the head is all there is of a level, it has come in with the pairs.
            for spacing, level in later._levels.items():
                rows, head = level.rows, later._heads[spacing]
                fresh = rows.select(slice(int(np.searchsorted(rows.number, head.number[-1], "right")), None))
                if spacing not in self._levels:
                    self._levels[spacing] = level
                elif len(fresh.number):
                    self._levels[spacing].append(fresh)
                    self._levels[spacing].fresh = 0
        self._since = later._since
        self._joins = self._joins and later._joins

    def add(self, values: NDArray[Any], first_row: int) -> None:
        """Take in consecutive rows.

        Args:
            values: ``(1 + step, token, dim)`` floats, first the row before these; that is not looked at right
                after the beginning or :meth:`restart`.
            first_row: number of the first of these rows in the run.
        """
        if self._order is not None:
            values = np.take(values, self._order, axis=1)
        count = len(values) - 1
        since = self._since + np.arange(count)
        rows = Rows(values[1:], values[:-1], first_row + np.arange(count), since > 0)
        self._since += count
        spacing = 1
        while self._multiples(spacing):
            chosen = rows.select(slice(int((spacing // 2 - since[0]) % spacing), None, spacing))
            if len(chosen.number):
                self._add_level(spacing, chosen)
            spacing *= 2

    def _multiples(self, spacing: int) -> list[int]:
        """The lags of a level in its spacing; none where they would be longer than half of the rows."""
        shortest = 0 if spacing == 1 else spacing * PER_LEVEL // 2
        own = self.lags[(self.lags > shortest) & (self.lags <= spacing * PER_LEVEL)]
        return [int(lag) // spacing for lag in own]

    def _add_level(self, spacing: int, new: Rows) -> None:
        level = self._levels.setdefault(spacing, Level(consecutive=spacing == 1))
        window, done = _WINDOW if spacing == 1 else _FEWER, 0
        while done < len(new.number):
            some = new.select(slice(done, done + window - level.fresh))
            level.append(some)
            done += len(some.number)
            if level.fresh == window:
                self._pair(spacing)
        if self._joins:
            self._keep_head(spacing, new)

    def _pair(self, spacing: int, *, across: bool = False) -> None:
        """Add the pairs of the rows of a level that have not been paired."""
        level = self._levels[spacing]
        if level.fresh:
            self._add_pairs(spacing, level.rows, level.fresh, across=across)
            level.fresh = 0

    def _keep_head(self, spacing: int, new: Rows) -> None:
        """Keep as many of the first rows of a level as its longest lag needs."""
        head = self._heads.get(spacing)
        missing = PER_LEVEL - (0 if head is None else len(head.number))
        if missing > 0:
            more = new.select(slice(missing))
            self._heads[spacing] = more.copy() if head is None else head.and_then(more)

    def _add_pairs(self, spacing: int, rows: Rows, fresh: int, *, across: bool = False) -> None:
        """Add the pairs of a level whose later row is one of the last ``fresh``.

        Of two stretches that are merged only those ``across`` are new, whose earlier row is none of these.
        """
        multiples = np.array(self._multiples(spacing), np.int64)
        count = len(rows.number)
        stop = min(count, count - fresh + int(multiples[-1])) if across else count
        for first in range(count - fresh, stop, _WINDOW):
            # Rows that pairs reach back to, and then the rows that end them.
            begin, end = max(0, first - int(multiples[-1])), min(first + _WINDOW, stop)
            late = np.arange(first - begin, end - begin)[:, None]
            early = late - multiples
            known = early >= 0
            if across:
                known &= early < count - fresh - begin
            if known.any():
                pairs = _Pairs(
                    rows.select(slice(begin, end)), late, np.where(known, early, late), known, spacing == 1
                )
                self._add_window(np.searchsorted(self.lags, multiples * spacing), pairs)

    def _add_window(self, lags: NDArray[np.int64], pairs: "_Pairs") -> None:
        rows, early, known = pairs.rows, pairs.early, pairs.known
        with np.errstate(invalid="ignore", over="ignore"):
            if self._compiled:
                taken = self._compiled_differences
            else:
                taken = self._by_products if pairs.consecutive else self._by_differences
            moved, products, speeds = taken(pairs)
            powers = (speeds[:, pairs.late] + speeds[:, early]) / 2
            follows = known & rows.follows[early]
            self.products[lags] += np.where(follows, products, 0).sum(axis=1).T
            self.powers[lags] += np.where(follows, powers, 0).sum(axis=1).T
            segment = np.where(known, rows.number[early] * SEGMENTS // self._rows, -1)
            for one in np.unique(segment[known]):
                mine = segment == one
                self.origins[one, lags] += mine.sum(axis=0)
                self.squares[one, lags] += np.where(mine, moved, 0).sum(axis=1).T

    def _by_products(self, pairs: "_Pairs") -> tuple[NDArray[np.float64], ...]:
        """``(group, late, lag)`` |x(t+l) - x(t)|^2 and v(t+l) . v(t), and ``(group, row)`` |v(t)|^2."""
        rows, late, early = pairs.rows, pairs.late, pairs.early
        count = len(rows.number)
        sums, some = np.zeros((len(self._atoms), count, count)), np.empty((count, count))
        for atom, tokens in self._some_tokens(rows):
            place = np.empty((1 + count, *rows.position[0, tokens].shape))
            place[0] = rows.before[0, tokens]
            place[1:] = rows.position[:, tokens]
            # Each row's velocity is the displacement from the row before it.
            apart = (place[1:] - place[:-1]).reshape(count, -1)
            sums[atom] += np.matmul(apart, apart.T, out=some)
        speeds = self._of_groups(sums)
        distance, doubtful = squared_distances(speeds)
        moved, doubtful = distance[:, early, late], doubtful[:, early, late] & pairs.known
        doubtful &= np.array([len(ids) > 0 for ids in self._groups])[:, None, None]
        for lag in np.flatnonzero(doubtful.any(axis=(0, 1))):
            which = np.flatnonzero(doubtful[:, :, lag].any(axis=0))
            apart = rows.position[late[which, 0]].astype(np.float64) - rows.position[early[which, lag]]
            exact = self._of_tokens(np.einsum("std,std->st", apart, apart))
            moved[:, which, lag] = np.where(doubtful[:, which, lag], exact, moved[:, which, lag])
        return moved, speeds[:, early, late], np.diagonal(speeds, axis1=1, axis2=2)

    def _by_differences(self, pairs: "_Pairs") -> tuple[NDArray[np.float64], ...]:
        """The same, from the differences themselves."""
        rows, first = pairs.rows, int(pairs.late[0, 0])
        count = len(rows.number)
        found = np.zeros((2, len(self._atoms), *pairs.known.shape))
        speeds = np.zeros((len(self._atoms), count))
        # Of all later rows the earlier ones are at the same distance.
        apart = [int(lag) for lag in (pairs.late - pairs.early).max(axis=0)]
        for atom, tokens in self._some_tokens(rows):
            position = rows.position[:, tokens].reshape(count, -1).astype(np.float64)
            velocity = position - rows.before[:, tokens].reshape(count, -1)
            speeds[atom] += np.einsum("rk,rk->r", velocity, velocity)
            for lag, back in enumerate(apart):
                late = max(first, back)
                moved = position[late:] - position[late - back : count - back]
                found[0, atom, late - first :, lag] += np.einsum("rk,rk->r", moved, moved)
                found[1, atom, late - first :, lag] += np.einsum(
                    "rk,rk->r", velocity[late:], velocity[late - back : count - back]
                )
        return self._of_groups(found[0]), self._of_groups(found[1]), self._of_groups(speeds)

    def _compiled_differences(self, pairs: "_Pairs") -> tuple[NDArray[np.float64], ...]:
        """The same, from the differences themselves, in one pass over the rows."""
        rows = pairs.rows
        found = np.zeros((2, len(self._atoms), *pairs.known.shape))
        speeds = np.zeros((len(self._atoms), len(rows.number)))
        starts = np.array([*(atom.start for atom in self._atoms), self._atoms[-1].stop])
        # Of all later rows the earlier ones are at the same distance.
        lags = (pairs.late - pairs.early).max(axis=0)
        sums = (found[0], found[1], speeds)
        add_pairs((rows.position, rows.before), starts, int(pairs.late[0, 0]), lags, sums)
        return self._of_groups(found[0]), self._of_groups(found[1]), self._of_groups(speeds)

    def _some_tokens(self, rows: Rows) -> Iterator[tuple[int, slice]]:
        """The number of each atom, and some of its tokens at a time."""
        count, _, dim = rows.position.shape
        size = max(1, _PIECE // (count * dim))
        for atom, tokens in enumerate(self._atoms):
            for start in range(tokens.start, tokens.stop, size):
                yield atom, slice(start, min(start + size, tokens.stop))

    def _of_tokens(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(..., token)`` to ``(group, ...)`` means; NaN for a group of nobody."""
        return self._of_groups(np.stack([values[..., tokens].sum(axis=-1) for tokens in self._atoms]))

    def _of_groups(self, atoms: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(atom, ...)`` sums over atoms to ``(group, ...)`` means; NaN for a group of nobody."""
        found = np.full((len(self._groups), *atoms.shape[1:]), np.nan)
        for group, ids in enumerate(self._groups):
            if len(ids):
                atoms[self._atoms_of[group]].sum(axis=0, out=found[group])
                found[group] /= len(ids)
        return found

    @property
    def msd(self) -> NDArray[np.float64]:
        """``(lag, group)`` mean over origins and tokens of |x(t+l) - x(t)|^2; NaN without origins."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.squares.sum(axis=0) / self.origins.sum(axis=0)[:, None], np.float64)

    @property
    def vacf(self) -> NDArray[np.float64]:
        """``(lag, group)`` <v(t+l) . v(t)> / <(|v(t+l)|^2 + |v(t)|^2) / 2>, in [-1, 1]; NaN at rest."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.products / self.powers, np.float64)
