"""Two arrays compared row by row: equal bits, distance, direction, and the first element that differs."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# What is worked on at once, as float64: a few copies of it fit into the cache of a core.
_PART_BYTES: Final = 1 << 21
# Elements of a long row worked on at once.
_PIECE: Final = 1 << 16


@dataclass(frozen=True, eq=False)
class Compared:
    """What was found of some rows.

    Attributes:
        distance: ``(row,)`` Frobenius norm of the difference; elements of equal bits are no distance apart.
        equal: ``(row,)`` share of the elements whose bits are equal.
        cosine: ``(row,)`` of all elements as one vector; NaN where one has no length, or is not finite.
        rotated: ``(row,)`` least distance up to a rotation; None where it was not asked for.
        differing: how many elements differ.
        zero_signs: of these, how many are +0 and -0.
        nan_payloads: of these, how many are NaN in both.
        first: row and position in it of the first element that differs; None where none does.
    """

    distance: Floats
    equal: Floats
    cosine: Floats
    rotated: Floats | None
    differing: int
    zero_signs: int
    nan_payloads: int
    first: tuple[int, int] | None


def compare_rows(one: NDArray[Any], other: NDArray[Any], *, rotation: bool = False) -> Compared:
    """Compare ``(row, ...)`` arrays of one shape and one dtype.

    Args:
        one: the values of one side.
        other: those of the other.
        rotation: of ``(row, token, dim)``: work out distances up to a rotation, too.
    """
    rows = len(one)
    flat, flat_other = (np.ascontiguousarray(values).reshape(rows, -1) for values in (one, other))
    size = flat.shape[1]
    part = max(1, _PART_BYTES // (8 * size))
    distance, cosine = np.zeros(rows), np.full(rows, np.nan)
    counts = np.zeros(rows, np.int64)
    zero_signs = nan_payloads = 0
    first: tuple[int, int] | None = None
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for start in range(0, rows, part):
            block = slice(start, start + part)
            differs = bits_of(flat[block]) != bits_of(flat_other[block])
            counts[block] = np.count_nonzero(differs, axis=1)
            for row, unequal in enumerate(differs, start=start):
                if not counts[row]:
                    cosine[row] = 1.0 if _has_direction(flat[row]) else np.nan
                    continue
                if first is None:
                    first = (row, int(np.argmax(unequal)))
                found = _of_row(flat[row], flat_other[row], unequal)
                distance[row], cosine[row] = found[:2]
                zero_signs += found[2]
                nan_payloads += found[3]
        rotated = _rotated(one, other, part) if rotation else None
    return Compared(
        distance, 1 - counts / size, cosine, rotated, int(counts.sum()), zero_signs, nan_payloads, first
    )


def bits_of(values: NDArray[Any]) -> NDArray[np.unsignedinteger]:
    """The bit patterns, as whole numbers of the same width."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _has_direction(values: NDArray[Any]) -> bool:
    """Whether a vector has a length, and a finite one."""
    if values.dtype.kind == "f":
        quick = float(np.dot(values, values))
        if np.isfinite(quick) and quick > 0:
            return True
    wide = values.astype(np.float64)
    square = float(np.dot(wide, wide))
    return bool(np.isfinite(square) and square > 0)


def _of_row(
    one: NDArray[Any], other: NDArray[Any], unequal: NDArray[np.bool_]
) -> tuple[float, float, int, int]:
    """Distance, cosine, and how many elements differ in the sign of zero, and in NaNs alone."""
    square = inner = 0.0
    lengths = [0.0, 0.0]
    zero_signs = nan_payloads = 0
    for start in range(0, len(one), _PIECE):
        piece = slice(start, start + _PIECE)
        x, y = one[piece].astype(np.float64), other[piece].astype(np.float64)
        apart = x - y
        found = float(np.dot(apart, apart))
        if not np.isfinite(found):
            # Infinities and NaNs of equal bits are no distance apart.
            apart[~unequal[piece]] = 0
            found = float(np.dot(apart, apart))
            nan_payloads += int(np.count_nonzero(unequal[piece] & np.isnan(x) & np.isnan(y)))
        square += found
        inner += float(np.dot(x, y))
        lengths[0] += float(np.dot(x, x))
        lengths[1] += float(np.dot(y, y))
        zero_signs += int(np.count_nonzero(unequal[piece] & (x == y)))
    cosine = np.nan
    if all(np.isfinite(lengths)) and all(lengths):
        cosine = min(1.0, max(-1.0, inner / np.sqrt(lengths[0]) / np.sqrt(lengths[1])))
    return float(np.sqrt(square)), float(cosine), zero_signs, nan_payloads


def _rotated(one: NDArray[Any], other: NDArray[Any], part: int) -> Floats:
    """``(row,)`` min ||X R - Y|| over orthogonal R, in the Frobenius norm.

    R is U V' of the singular value decomposition U S V' of X' Y: P. H. Schoenemann, "A generalized solution
    of the orthogonal Procrustes problem", Psychometrika 31 (1966), 1-10. Nothing is centred or scaled.
    """
    found = np.full(len(one), np.nan)
    for start in range(0, len(one), part):
        x, y = (values[start : start + part].astype(np.float64) for values in (one, other))
        finite = np.isfinite(x).all(axis=(1, 2)) & np.isfinite(y).all(axis=(1, 2))
        x, y = x[finite], y[finite]
        if len(x):
            left, _, right = np.linalg.svd(x.transpose(0, 2, 1) @ y)
            found[start : start + part][finite] = np.linalg.norm(x @ (left @ right) - y, axis=(1, 2))
    return found
