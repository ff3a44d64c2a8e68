"""What tells a random walk from a directed or a confined one, however its steps change in length.

Three statistics, each of which a random walk makes independently of how long its steps are at which time:

- the exponent of the mean squared displacement, in a time that makes steps alike: the sum of their squares;
- the mean cosine between two unit steps that are further apart than the optimizer remembers;
- the mean cosine between the displacements in neighbouring ones of twenty windows of equally many steps.

Directed motion makes all three larger, and confined motion smaller. A fourth, the reach, says how far a walk
got: the net displacement over the root of the summed squared steps.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.walks import add_steps

STATISTICS: Final = ("exponent", "cosine", "windows", "reach")
# The clock is read at so many equal intervals, and lags are these numbers of them.
_TICKS: Final = 64
_LAGS: Final = (1, 2, 4, 8, 16)
_WINDOWS: Final = 20
# In so many dimensions it takes less time to add up steps than to keep every place.
_SUMMED: Final = 8
# Rows between the unit steps that are compared: five times the ten steps that a momentum of 0.9 remembers.
APART: Final = 50


def walk_statistics(moved: NDArray[np.floating[Any]], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure walks whose steps have the same lengths.

    Args:
        moved: ``(walk, step, dim)`` displacements from row to row.
        lengths: ``(step,)`` their lengths.

    Returns:
        ``(walk, 4)``: the :data:`STATISTICS`. NaN where too few steps are of any length.
    """
    return statistics_of_each([moved], lengths)


def statistics_of_each(
    walks: Iterable[NDArray[np.floating[Any]]], lengths: NDArray[np.float64], *, compiled: bool = False
) -> NDArray[np.float64]:
    """:func:`walk_statistics` of walks that come some at a time, and are not kept.

    Args:
        walks: ``(walk, step, dim)`` displacements, of some walks each; float32 for compiled loops.
        lengths: ``(step,)`` their lengths.
        compiled: whether compiled loops add up steps: to the same numbers, in less time.
    """
    if len(lengths) < _WINDOWS or not np.isfinite(lengths).all() or not lengths.any():
        return np.full((sum(len(moved) for moved in walks), len(STATISTICS)), np.nan)
    clock = np.concatenate([[0.0], np.cumsum(lengths**2)])
    # Rounding must not put the last reading behind the last row.
    readings = np.linspace(0, clock[-1], _TICKS + 1) * (1 - 1e-12)
    ticks = np.unique(np.searchsorted(clock, readings))
    ends = np.linspace(0, len(lengths), _WINDOWS + 1).astype(np.int64)
    at, which = np.unique(np.concatenate([ticks, ends]), return_inverse=True)
    add_up = _places_compiled if compiled else _places
    read = [(add_up(moved, at), _products(moved)) for moved in walks]
    places, products = (np.concatenate(of) for of in zip(*read, strict=True))
    reach = np.linalg.norm(places[:, -1], axis=1) / np.sqrt((lengths**2).sum())
    found = (
        _exponent(places[:, which[: len(ticks)]], clock[ticks]),
        _cosine(products, lengths),
        _windows(places[:, which[len(ticks) :]]),
        reach,
    )
    return np.stack(found, axis=1)


def _places(moved: NDArray[np.floating[Any]], rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
    """``(walk, row, dim)`` where walks from the origin are after so many steps: sums one step at a time.

    Args:
        moved: ``(walk, step, dim)`` displacements.
        rows: ascending numbers of steps.
    """
    if moved.shape[2] < _SUMMED:
        sums = np.cumsum(moved, axis=1)
        return np.concatenate([np.zeros_like(moved[:, :1]), sums], axis=1)[:, rows]
    # Of each piece between two of the rows: the place before it, and then its steps.
    piece = np.empty((len(moved), 1 + int(np.diff(rows, prepend=0).max()), moved.shape[2]), moved.dtype)
    found = np.empty((len(moved), len(rows), moved.shape[2]), moved.dtype)
    place, done = np.zeros_like(moved[:, 0]), 0
    for number, row in enumerate(rows.tolist()):
        steps = piece[:, : 1 + row - done]
        steps[:, 0] = place
        steps[:, 1:] = moved[:, done:row]
        # Rows are added one after another; in one dimension numpy would add them in pairs.
        place, done = np.add.reduce(steps, axis=1), row
        found[:, number] = place
    return found


def _places_compiled(moved: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    found = np.empty((len(moved), len(rows), moved.shape[2]), np.float32)
    add_steps(moved, rows, found)
    return found


def _exponent(place: NDArray[np.floating[Any]], clock: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope of log mean |c(i + q) - c(i)|^2 against log mean (T(i + q) - T(i)), T the summed squared steps.

    i runs over the first rows at which T has reached 0, 1/64, 2/64, ... of all, each row once, and q is
    1, 2, 4, 8 and 16 of these.

    Args:
        place: ``(walk, row, dim)`` c in these rows.
        clock: ``(row,)`` T there.
    """
    lags = [lag for lag in _LAGS if len(clock) > 2 * lag]
    if len(lags) < 3:
        return np.full(len(place), np.nan)
    times = np.log([(clock[lag:] - clock[:-lag]).mean() for lag in lags])
    times -= times.mean()
    with np.errstate(divide="ignore"):
        squares = np.log(
            np.stack([((place[:, lag:] - place[:, :-lag]) ** 2).sum(axis=2).mean(axis=1) for lag in lags])
        )
    return np.asarray((times[:, None] * squares).sum(axis=0) / (times**2).sum(), np.float64)


def _products(moved: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """``(walk, t)`` v(t) . v(t + 50)."""
    return np.asarray(np.einsum("wtd,wtd->wt", moved[:, APART:], moved[:, :-APART]))


def _cosine(products: NDArray[np.floating[Any]], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean cosine between v(t) and v(t + 50), over t at which both are of some length."""
    both = lengths[APART:] * lengths[:-APART]
    known = both > 0
    if not known.any():
        return np.full(len(products), np.nan)
    return np.asarray((products[:, known] / both[known]).mean(axis=1), np.float64)


def _windows(place: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Mean cosine between the displacements in neighbouring windows; those without any are left out.

    Args:
        place: ``(walk, end, dim)`` where windows begin and end.
    """
    moved = np.diff(place, axis=1)
    lengths = np.linalg.norm(moved, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.einsum("wkd,wkd->wk", moved[:, 1:], moved[:, :-1]) / (lengths[:, 1:] * lengths[:, :-1])
    known = np.isfinite(cosines)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, cosines, 0).sum(axis=1) / known.sum(axis=1), np.float64)
