"""Every kind of index that an array along ``step`` takes, and what numpy makes of it axis by axis."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray


def _axis(size: int) -> st.SearchStrategy[Any]:
    slices = st.slices(size) | st.builds(
        slice,
        st.none() | st.integers(-size - 3, size + 3),
        st.none() | st.integers(-size - 3, size + 3),
        st.none() | st.sampled_from([-3, -2, -1, 1, 2, 5]),
    )
    masks = st.lists(st.booleans(), min_size=size, max_size=size)
    if size == 0:
        return slices | st.just(np.zeros(0, bool))
    integers = st.integers(-size, size - 1)
    lists = st.lists(integers, max_size=size + 2)
    return st.one_of(
        slices,
        integers,
        integers.map(np.int64),
        lists,
        lists.map(lambda values: np.array(values, np.int64)),
        masks,
        masks.map(np.array),
    )


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index of the array; a single one, or a tuple with or without an ellipsis."""
    count = draw(st.integers(0, len(shape)))
    parts: list[Any] = [draw(_axis(size)) for size in shape[:count]]
    if draw(st.booleans()):
        # An ellipsis, with indices of the last axes behind it.
        behind = draw(st.integers(0, len(shape) - count))
        parts = [*parts, ..., *(draw(_axis(size)) for size in shape[len(shape) - behind :])]
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@st.composite
def wrong_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index with one part outside the array, or a mask of another length, or too many parts."""
    parts: list[Any] = [draw(_axis(size)) for size in shape]
    axis = draw(st.integers(0, len(shape) - 1))
    size = shape[axis]
    outside = st.integers(size, size + 3) | st.integers(-size - 3, -size - 1)
    wrong: st.SearchStrategy[Any] = st.one_of(
        outside,
        outside.map(lambda value: [0, value]),
        st.just(np.ones(size + 1, bool)),
        st.just([True] * (size - 1)),
    )
    if draw(st.booleans()):
        parts[axis] = draw(wrong)
        return tuple(parts[: axis + 1])
    return (*parts, 0)


def orthogonal(values: NDArray[Any], key: Any) -> NDArray[Any]:
    """Apply each part of the key to its own axis, with nothing but numpy's indexing of one axis."""
    parts = list(key) if isinstance(key, tuple) else [key]
    full = [slice(None)] * values.ndim
    split = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    behind = parts[split + 1 :]
    full[:split] = parts[:split]
    if behind:
        full[values.ndim - len(behind) :] = behind
    for axis in reversed(range(values.ndim)):
        part = full[axis]
        if isinstance(part, list):
            part = np.array(part, dtype=bool if part and isinstance(part[0], bool) else np.int64)
        values = values[(slice(None),) * axis + (part,)]
    return values
