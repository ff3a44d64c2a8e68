"""How far the elements of each token move on the lattice of representable numbers, from row to row."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.moves import measure_moves
from embevo.analysis.measures.counting import count, lengths, total
from embevo.analysis.measures.lattice import displacement, infinity, places_of, signed_displacement
from embevo.analysis.measures.pinning import pinned_place

# Places up to so many bytes fit into the loops that are compiled.
_COMPILED: Final = 4


@dataclass(frozen=True)
class Moves:
    """What the elements of each token do from the row before to this one; what is not a number has a place.

    Attributes:
        l1: ``(step, token)`` float64 sum of the displacements in ULPs.
        l2: ``(step, token)`` float64 their Euclidean norm.
        linf: ``(step, token)`` float64 the largest.
        moved: ``(step, token)`` int64 how many elements changed; +0 and -0 are one.
        single: ``(step, token)`` int64 how many changed by one ULP.
        up: ``(step, token)`` int64 how many became larger.
        signed: ``(step, token)`` float64 sum of the signed displacements.
        pinned: ``(step, token)`` int64 how many were pinned in the row before.
        broken: ``(step, token)`` int64 how many of these changed.
        always: ``(token, dim)`` which were pinned in all rows whose limit is known.
    """

    l1: NDArray[np.float64]
    l2: NDArray[np.float64]
    linf: NDArray[np.float64]
    moved: NDArray[np.int64]
    single: NDArray[np.int64]
    up: NDArray[np.int64]
    signed: NDArray[np.float64]
    pinned: NDArray[np.int64]
    broken: NDArray[np.int64]
    always: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        bits: NDArray[np.signedinteger[Any]],
        before: NDArray[np.signedinteger[Any]],
        limit: NDArray[np.float64],
        dtype: np.dtype[Any],
        *,
        compiled: bool = False,
    ) -> "Moves":
        """Measure consecutive rows.

        Args:
            bits: ``(step, token, dim)`` of the values in the recorded dtype, as signed numbers of its width.
            before: ``(token, dim)`` of the row before the first.
            limit: ``(step,)`` magnitude from which on elements are pinned; NaN where that is not known.
            dtype: in which they were recorded.
            compiled: whether loops are machine code.
        """
        known = np.isfinite(limit)
        least = pinned_place(limit, dtype)
        always = np.ones(bits.shape[1:], np.bool_)
        counts = np.zeros((6, *bits.shape[:2]), np.int64)
        if compiled and bits.dtype.itemsize <= _COMPILED:
            sizes = np.empty((3, *bits.shape[:2]))
            limits = np.where(known, least, -1).astype(np.int64)
            measure_moves(bits, before, limits, infinity(dtype), (sizes, counts, always))
            l1, l2, linf = sizes
            moved, single, up, signed, pinned, broken = counts
            return cls(l1, l2, linf, moved, single, up, signed.astype(np.float64), pinned, broken, always)
        now, was = places_of(bits, dtype), np.empty_like(bits)
        was[0], was[1:] = places_of(before, dtype), now[:-1]
        ulps: NDArray[Any] = _apart(now, was)
        changed = np.asarray(ulps != 0)
        if known.any():
            size = np.abs(was)
            held = np.asarray((size >= least[:, None, None]) & (size <= infinity(dtype)))
            held[~known] = False
            always[:] = (held if known.all() else held[known]).all(axis=0)
            counts[4], counts[5] = count(held), count(held & changed)
        linf = ulps.max(axis=2).astype(np.float64)
        return cls(
            total(ulps),
            lengths(ulps, float(linf.max(initial=0))),
            linf,
            count(changed),
            count(np.asarray(ulps == 1)),
            count(np.asarray(now > was)),
            _signed(now, was),
            counts[4],
            counts[5],
            always,
        )


def _apart(now: NDArray[np.integer], was: NDArray[np.integer]) -> NDArray[np.uint16] | NDArray[np.float64]:
    """Distances in ULPs: uint16 of what was recorded in 16 bits, else float64."""
    if now.dtype.itemsize != 2:
        return displacement(now, was)
    # The larger less the smaller is up to 65,534, which 16 bits hold without a sign.
    return np.asarray((np.maximum(now, was) - np.minimum(now, was)).view(np.uint16))


def _signed(now: NDArray[np.integer], was: NDArray[np.integer]) -> NDArray[np.float64]:
    """``(step, token)`` sums of signed displacements over the elements, from row to row."""
    if now.dtype == np.int64:
        return np.asarray(signed_displacement(now, was).sum(axis=2), np.float64)
    # Sums of places are exact, and there is nothing to keep of the elements.
    return np.diff(np.concatenate([total(was[:1]), total(now)]), axis=0)
