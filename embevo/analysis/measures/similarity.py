"""Two matrices with the same tokens compared up to rotation: in one run at two steps, or in two runs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def linear_cka(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Linear centred kernel alignment.

    |Y'X|² / (|X'X| |Y'Y|), Frobenius norms of the matrices less their means over tokens: 1 where one is the
    other, rotated, scaled and shifted (Kornblith, Norouzi, Lee and Hinton, ICML 2019, section 3).

    Args:
        one: ``(token, dim)`` of any dtype.
        other: ``(token, dim)`` of the same tokens; its ``dim`` may be another.

    Returns:
        From 0 to 1; NaN where all tokens of one are at one point, or one is not finite.
    """
    one, other = _centred(one), _centred(other)
    scale = _length(_crossed(one, one)) * _length(_crossed(other, other))
    return _length(_crossed(one, other)) ** 2 / scale if scale > 0 else float("nan")


def procrustes(one: NDArray[Any], other: NDArray[Any]) -> float:
    """How far two matrices are apart that may be shifted, scaled and rotated.

    Both are centred and scaled to a Frobenius norm of 1; the distance min over orthogonal R of |X R - Y| is
    then sqrt(2 - 2 s), s the sum of the singular values of X'Y (Schönemann, Psychometrika 31, 1, 1966; Ding,
    Denain and Steinhardt, NeurIPS 2021).

    Args:
        one: ``(token, dim)`` of any dtype.
        other: ``(token, dim)`` of the same tokens; its ``dim`` may be another, then zeros are added.

    Returns:
        From 0, one is the other rotated, to sqrt(2); NaN where all tokens of one are at one point, or one is
        not finite. Rounding leaves about 1e-8 where it is 0.
    """
    one, other = _centred(one), _centred(other)
    scale = _length(one) * _length(other)
    crossed = _crossed(one, other)
    if not scale > 0 or not np.isfinite(crossed).all():
        return float("nan")
    shared = float(np.linalg.svd(crossed, compute_uv=False).sum()) / scale
    return float(np.sqrt(max(0.0, 2 - 2 * shared)))


def _centred(points: NDArray[Any]) -> NDArray[np.float64]:
    # In float64, whatever was recorded; about the first token, so that tokens at one point are exactly there.
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.asarray(points, np.float64)
        apart = apart - apart[:1]
        return np.asarray(apart - apart.mean(axis=0), np.float64)


def _crossed(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        return one.T @ other


def _length(values: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(values))
