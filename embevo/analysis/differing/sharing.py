"""What two recordings share, and can be compared by: steps, arrays and tokens; and what they do not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.differing.side import Recorded, Side
from embevo.errors import AnalysisError, ArgumentError
from embevo.run.format.steps import describe
from embevo.run.format.widening import common_dtype


@dataclass(frozen=True, eq=False)
class Pair:
    """One array of each side.

    Attributes:
        name: of the first side's.
        other_name: of the second side's.
        one: the first side's.
        other: the second side's.
        dtype: in which they are compared; every value of both fits exactly.
        tokens: ``(token,)`` ids of the rows that are compared; None where rows are no tokens.
        at: positions of these in either; None for all of it.
    """

    name: str
    other_name: str
    one: Recorded
    other: Recorded
    dtype: np.dtype[Any]
    tokens: NDArray[np.int64] | None = None
    at: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None] = (None, None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is compared at a step."""
        if self.tokens is None:
            return self.one.shape
        return (len(self.tokens), *self.one.shape[1:])

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""
        named = self.one.dimensions or self.other.dimensions
        return named or tuple(f"axis {axis}" for axis in range(len(self.shape)))


@dataclass(frozen=True, eq=False)
class Shared:
    """What can be compared.

    Attributes:
        steps: ``(step,)`` int64 global steps that both have; of the first side, where both are one state.
        rows: ``(step,)`` positions in either.
        pairs: the arrays.
        remarks: what they do not share, and what was taken for granted; whole sentences.
    """

    steps: NDArray[np.int64]
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    pairs: tuple[Pair, ...]
    remarks: tuple[str, ...]


def shared(one: Side, other: Side, arrays: Mapping[str, str] | None) -> Shared:
    """Find out what two recordings share.

    Args:
        one: the first.
        other: the second.
        arrays: which of the first to compare with which of the second; None for all that have one name.

    Raises:
        AnalysisError: they share no step, or no array that can be compared.
        ArgumentError: an array that is named is not there.
    """
    steps, rows, remarks = _steps(one, other)
    pairs = []
    reasons = []
    for name, other_name in _names(one, other, arrays).items():
        found = _pair(name, other_name, one, other, remarks)
        if isinstance(found, Pair):
            pairs.append(found)
        else:
            reasons.append(found)
    if arrays is None and not (one.is_unnamed or other.is_unnamed):
        for side, against in ((one, other), (other, one)):
            missing = sorted(side.arrays.keys() - against.arrays.keys())
            if missing:
                remarks.append(f"Only {side.path} has {', '.join(missing)}.")
    if not pairs:
        why = " ".join(reasons or remarks) or "they have no arrays"
        raise AnalysisError(
            f"{one.path} ({one.kind}) and {other.path} ({other.kind}) have no array that can be compared: "
            f"{why} --array NAME=OTHER compares two of other names."
        )
    remarks += reasons
    remarks += _other_texts(one, other)
    return Shared(steps, rows, tuple(pairs), tuple(dict.fromkeys(remarks)))


def _steps(
    one: Side, other: Side
) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]], list[str]]:
    if one.is_state and other.is_state:
        last = np.array([len(one.steps) - 1]), np.array([len(other.steps) - 1])
        steps = one.steps[last[0]], other.steps[last[1]]
        remarks = []
        if steps[0] != steps[1]:
            remarks.append(f"The states are of step {int(steps[0][0]):,} and of step {int(steps[1][0]):,}.")
        return steps[0], last, remarks
    common, first, second = np.intersect1d(one.steps, other.steps, assume_unique=True, return_indices=True)
    if not len(common):
        listed = " and ".join(
            f"{side.path} ({side.kind}) has {describe(side.steps.tolist()) if len(side.steps) else 'none'}"
            for side in (one, other)
        )
        raise AnalysisError(f"there is no step that both have: {listed}")
    remarks = []
    for side in (one, other):
        apart = np.setdiff1d(side.steps, common, assume_unique=True)
        if len(apart):
            remarks.append(f"Only {side.path} has {len(apart):,} steps: {describe(apart.tolist())}.")
    return common, (first, second), remarks


def _names(one: Side, other: Side, arrays: Mapping[str, str] | None) -> dict[str, str]:
    if arrays is None:
        if one.is_unnamed or other.is_unnamed:
            return {one.main: other.main} if one.main and other.main else {}
        return {name: name for name in one.arrays if name in other.arrays}
    named = {}
    for name, other_name in arrays.items():
        first = one.main if one.is_unnamed else name
        second = other.main if other.is_unnamed else other_name
        for side, wanted in ((one, first), (other, second)):
            if wanted not in side.arrays:
                raise ArgumentError(
                    f"{side.path} has no array {wanted}; it has {', '.join(side.arrays) or 'none'}"
                )
        named[first] = second
    return named


def _pair(name: str, other_name: str, one: Side, other: Side, remarks: list[str]) -> Pair | str:
    """The two arrays, or why they cannot be compared."""
    first, second = one.arrays[name], other.arrays[other_name]
    called = name if name == other_name else f"{name} and {other_name}"
    dtype = common_dtype(first.stored, second.stored)
    if dtype is None:
        return f"{called} cannot be compared: {first.dtype} and {second.dtype} are not of one kind."
    # The first axis may differ where it is tokens.
    tail = 0 if first.tokens is None and second.tokens is None else 1
    shapes = f"{called} cannot be compared: the shapes at a step are {first.shape} and {second.shape}"
    if len(first.shape) != len(second.shape) or first.shape[tail:] != second.shape[tail:]:
        return f"{shapes}."
    if first.dtype != second.dtype:
        remarks.append(
            f"{called}: {first.dtype} and {second.dtype}, compared after exact widening to "
            f"{common_dtype(first.dtype, second.dtype)}."
        )
    if not tail:
        return Pair(name, other_name, first, second, dtype)
    known = first if first.tokens is not None else second
    ids = []
    for side, array in ((one, first), (other, second)):
        if array.tokens is not None:
            ids.append(array.tokens)
        elif array.shape[0] == known.vocabulary:
            ids.append(np.arange(known.vocabulary))
        elif known.tokens is not None and array.shape[0] == len(known.tokens):
            remarks.append(
                f"{side.path} does not say which tokens its rows are; they are taken for those of the other."
            )
            ids.append(known.tokens)
        else:
            return f"{shapes}, and {side.path} does not say which tokens its rows are."
    return _of_tokens(Pair(name, other_name, first, second, dtype), ids, (one, other), remarks)


def _of_tokens(
    pair: Pair, ids: list[NDArray[np.int64]], sides: tuple[Side, Side], remarks: list[str]
) -> Pair | str:
    """The pair cut to the tokens that both have."""
    common, first, second = np.intersect1d(ids[0], ids[1], assume_unique=True, return_indices=True)
    if not len(common):
        return f"{pair.name} cannot be compared: there is no token that both have."
    for side, own in zip(sides, ids, strict=True):
        apart = np.setdiff1d(own, common, assume_unique=True)
        if len(apart):
            remarks.append(f"Only {side.path} has {len(apart):,} tokens: {describe(apart.tolist())}.")
    at = tuple(
        None if len(place) == len(own) else place for place, own in zip((first, second), ids, strict=True)
    )
    return Pair(pair.name, pair.other_name, pair.one, pair.other, pair.dtype, common, (at[0], at[1]))


def _other_texts(one: Side, other: Side) -> Iterator[str]:
    differing = [
        token for token, text in one.labels.items() if token in other.labels and other.labels[token] != text
    ]
    if differing:
        token = differing[0]
        yield (
            f"{len(differing):,} of the token ids have other texts, and are other tokens: {token} is "
            f"{one.labels[token]!r} and {other.labels[token]!r}."
        )
