"""Where the clouds of all groups of points are, and how large, in one pass over the points."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.clouds import measure_means, measure_squares
from embevo.analysis.measures.atoms import Atoms
from embevo.analysis.measures.geometry import norms

# Elements that are gone over several times before the next ones are: they stay in the cache of a core.
_PIECE: Final = 1 << 15


@dataclass(frozen=True)
class Clouds:
    """The clouds of several groups at several steps; NaN for a group of nobody.

    Means and squares are taken of each atom, of the differences from its first point and then from its mean.
    With y the differences from the mean of an atom, and d that of this mean from the centroid of a group, the
    squared distances of its points from that are |y|^2 + 2 y . d + |d|^2, and their mean is that of |y|^2 and
    |d|^2. Points that all coincide have their centroid exactly there, and are exactly at a distance of 0. A
    NaN or infinity makes its step's numbers NaN.

    Attributes:
        centre: ``(step, group, dim)`` float64 mean of the points of each group: its centroid.
        mean: ``(step, group)`` float64 mean of the squared Euclidean distances from it.
        largest: ``(step, group)`` the largest of them.
        lengths: ``(step, token)`` Euclidean norm of every point.
        units: ``(step, atom, dim)`` sums of the points over their norms, where they were taken on the way.
    """

    centre: NDArray[np.float64]
    mean: NDArray[np.float64]
    largest: NDArray[np.float64]
    lengths: NDArray[np.float64]
    units: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, points: NDArray[np.float64], atoms: Atoms) -> "Clouds":
        """Measure ``(step, token, dim)`` float64 points."""
        rows, tokens, dim = points.shape
        first = points[:, atoms.order[[place.start for place in atoms.places]]]  # (step, atom, dim)
        means, ones = np.zeros_like(first), np.ones((1, tokens))
        room = np.empty(max(_PIECE, dim))
        with np.errstate(invalid="ignore", over="ignore"):
            for some, number, place in _pieces(points, atoms):
                apart = _apart(points[some], atoms, place, first[some, number, None], room)
                means[some, number] += np.matmul(ones[:, place], apart)[:, 0]
            means /= _counts(atoms)[:, None]
            centre, away = _centres(first, means, atoms)
            shared = _shared(atoms)
            squares, products = np.empty((rows, tokens)), np.zeros((len(away), rows, tokens))
            for some, number, place in _pieces(points, atoms):
                apart = _apart(points[some], atoms, place, first[some, number, None], room)
                apart -= means[some, number, None]
                np.einsum("std,std->st", apart, apart, out=squares[some, place])
                for group in np.flatnonzero(shared[:, number]):
                    far = away[group, some, number, :, None]
                    np.matmul(apart, far, out=products[group, some, place, None])
            return cls(centre, *_sizes(squares, products, away, atoms), norms(points))

    @classmethod
    def compiled(cls, values: NDArray[Any], atoms: Atoms, *, less: bool) -> "Clouds":
        """The same, by loops that are machine code.

        Args:
            values: ``(1 + step, token, dim)``, first the row before the others.
            atoms: of the tokens.
            less: points are the displacements from the row before; otherwise they are the values.
        """
        rows, tokens, dim = len(values) - 1, *values.shape[1:]
        starts = np.array([*(place.start for place in atoms.places), tokens])
        lengths = np.empty((rows, tokens))
        first, means, units = np.zeros((3, rows, len(atoms.places), dim))
        measure_means(values, int(less), atoms.order, starts, (lengths, first, means, units))
        means /= _counts(atoms)[:, None]
        with np.errstate(invalid="ignore", over="ignore"):
            centre, away = _centres(first, means, atoms)
            squares, products = np.empty((rows, tokens)), np.zeros((len(away), rows, tokens))
            measure_squares(
                values,
                int(less),
                (atoms.order, starts, _shared(atoms)),
                (first, means, away),
                (squares, products),
            )
            sizes = _sizes(squares, products, away, atoms)
        return cls(centre, *sizes, lengths, units if less else None)

    @property
    def radius_rms(self) -> NDArray[np.float64]:
        """``(step, group)`` sqrt(mean |x - c|^2): the radius of gyration."""
        return np.asarray(np.sqrt(self.mean), np.float64)

    @property
    def radius_max(self) -> NDArray[np.float64]:
        """``(step, group)`` max |x - c|."""
        return np.asarray(np.sqrt(self.largest), np.float64)


def _counts(atoms: Atoms) -> NDArray[np.float64]:
    """``(atom,)`` how many points each has."""
    return np.array([place.stop - place.start for place in atoms.places], np.float64)


def _groups_of_several(atoms: Atoms) -> list[int]:
    """The groups that are made of more than one atom."""
    return [group for group, of in enumerate(atoms.of_groups) if len(of) > 1]


def _shared(atoms: Atoms) -> NDArray[np.bool_]:
    """``(group, atom)`` of which atoms each group of several is made."""
    groups = _groups_of_several(atoms)
    found = np.zeros((len(groups), len(atoms.places)), np.bool_)
    for number, group in enumerate(groups):
        found[number, atoms.of_groups[group]] = True
    return found


def _centres(
    first: NDArray[np.float64], means: NDArray[np.float64], atoms: Atoms
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(step, group, dim)`` centroids, and ``(group, step, atom, dim)`` d, for each group of several atoms.

    Args:
        first: ``(step, atom, dim)`` the first point of each atom.
        means: ``(step, atom, dim)`` the mean of the differences from it.
        atoms: of the points.
    """
    counts, several = _counts(atoms), _groups_of_several(atoms)
    centre = np.full((len(first), len(atoms.of_groups), first.shape[2]), np.nan)
    away = np.zeros((len(several), *first.shape))
    for group, of in enumerate(atoms.of_groups):
        if not len(of):
            continue
        shift = first[:, of] - first[:, of[:1]]
        shift += means[:, of]
        mean = np.einsum("sad,a->sd", shift, counts[of]) / counts[of].sum()
        np.add(first[:, of[0]], mean, out=centre[:, group])
        if len(of) > 1:
            away[several.index(group)][:, of] = shift - mean[:, None]
    return centre, away


def _sizes(
    squares: NDArray[np.float64],
    products: NDArray[np.float64],
    away: NDArray[np.float64],
    atoms: Atoms,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(step, group)`` means and largest ones of the squared distances from the centroids.

    Args:
        squares: ``(step, token)`` |y|^2, in the order of the atoms.
        products: ``(group, step, token)`` y . d, for each group of several atoms.
        away: ``(group, step, atom, dim)`` d.
        atoms: of the points.
    """
    counts, several = _counts(atoms), _groups_of_several(atoms)
    mean = np.full((len(squares), len(atoms.of_groups)), np.nan)
    largest = mean.copy()
    for group, of in enumerate(atoms.of_groups):
        if not len(of):
            continue
        sums, most = np.zeros(len(squares)), np.zeros(len(squares))
        for number in of.tolist():
            own = squares[:, atoms.places[number]]
            sums += own.sum(axis=1)
            if len(of) > 1:
                row = several.index(group)
                far = np.einsum("sd,sd->s", away[row, :, number], away[row, :, number])
                sums += counts[number] * far
                own = own + 2 * products[row][:, atoms.places[number]] + far[:, None]
            np.maximum(most, own.max(axis=1), out=most)
        mean[:, group] = sums / counts[of].sum()
        largest[:, group] = most
    return mean, largest


def _pieces(points: NDArray[np.float64], atoms: Atoms) -> Iterator[tuple[slice, int, slice]]:
    """Some rows, the number of an atom, and some of its points by their places in the order of atoms."""
    rows, tokens, dim = points.shape
    at_once = max(1, _PIECE // max(1, tokens * dim))
    size = max(1, _PIECE // max(1, dim))
    for row in range(0, rows, at_once):
        for number, place in enumerate(atoms.places):
            for start in range(place.start, place.stop, size):
                yield slice(row, row + at_once), number, slice(start, min(start + size, place.stop))


def _apart(
    points: NDArray[np.float64],
    atoms: Atoms,
    place: slice,
    first: NDArray[np.float64],
    room: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``(step, token, dim)`` differences of some points, by their places in the order of atoms, from one.

    They lie in ``room``: memory that the system gives out anew takes longer than to compute them.
    """
    rows, _, dim = points.shape
    shape = (rows, place.stop - place.start, dim)
    some = room[: prod(shape)].reshape(shape)
    if atoms.in_order:
        return np.subtract(points[:, place], first, out=some)
    np.take(points, atoms.order[place], axis=1, out=some, mode="clip")
    some -= first
    return some
