"""Step numbers as runs of equal stride: short to store, whatever the length of the trajectory."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise


def to_ranges(steps: Iterable[int]) -> list[list[int]]:
    """``[[first, last, stride], ...]`` of ascending steps."""
    ranges: list[list[int]] = []
    for step in steps:
        if ranges:
            first, last, stride = ranges[-1]
            if first == last or step - last == stride:
                ranges[-1] = [first, step, step - last]
                continue
        ranges.append([step, step, 1])
    return ranges


def from_ranges(ranges: Sequence[Sequence[int]]) -> list[int]:
    """The inverse of :func:`to_ranges`."""
    return [step for first, last, stride in ranges for step in range(first, last + 1, stride)]


def describe(steps: Sequence[int]) -> str:
    """Steps as people write them: ``0..500, 700, 900..1000 every 10``."""
    return describe_ranges(to_ranges(steps))


def describe_ranges(ranges: Iterable[Sequence[int]]) -> str:
    """Ranges as people write them, as :func:`describe` does, of ``[first, last, stride]``."""
    parts = []
    for first, last, stride in ranges:
        if first == last:
            parts.append(f"{first}")
        else:
            parts.append(f"{first}..{last}" + (f" every {stride}" if stride != 1 else ""))
    return ", ".join(parts)


def gaps(steps: Sequence[int], stride: int | None = None) -> list[list[int]]:
    """What is missing between the first and the last of ascending steps, as ``[[first, last, stride], ...]``.

    Missing is measured by the stride given, or else by the one that most neighbours are apart. Ranges,
    because a gap may be long.
    """
    if stride is None:
        distances = Counter(after - before for before, after in pairwise(steps))
        if not distances:
            return []
        ((stride, _),) = distances.most_common(1)
    missing = []
    for before, after in pairwise(steps):
        if after - before > stride:
            first = before + stride
            last = first + (after - 1 - first) // stride * stride
            missing.append([first, last, stride])
    return missing


def count(ranges: Iterable[Sequence[int]]) -> int:
    """Number of steps in ranges."""
    return sum((last - first) // stride + 1 for first, last, stride in ranges)
