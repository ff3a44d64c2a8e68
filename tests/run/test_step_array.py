"""Indexing an array along ``step`` gives what indexing a numpy array would give, orthogonally."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.run.reading.step_array import Position, StepArray, select
from support import indices

SHAPE = (7, 4, 5)
VALUES = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)


def read(rows: Any, axes: tuple[Position, ...], dtype: np.dtype[Any], out: Any) -> Any:
    values = select(VALUES[rows], axes).astype(dtype)
    if out is None:
        return values
    out[...] = values
    return out


FLOAT32 = np.dtype(np.float32)
ARRAY = StepArray("w", SHAPE, FLOAT32, FLOAT32, read, ("step", "token", "dim"), lambda *_: [])


@given(indices.keys(SHAPE))
def test_any_index(key: Any) -> None:
    found = ARRAY[key]
    expected = indices.orthogonal(VALUES, key)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


@given(indices.wrong_keys(SHAPE))
def test_indices_outside_are_index_errors(key: Any) -> None:
    with pytest.raises(IndexError):
        ARRAY[key]


@pytest.mark.parametrize("key", ["loss", 1.5, None, (0, None), (0, "a"), {}, object(), [0.5], (0, [0.5])])
def test_what_is_no_index_is_an_index_error(key: Any) -> None:
    with pytest.raises(IndexError):
        ARRAY[key]


def test_as_a_numpy_array() -> None:
    assert np.array_equal(np.asarray(ARRAY), VALUES)
    assert np.asarray(ARRAY, np.float64).dtype == np.float64
    assert np.array(ARRAY).dtype == np.float32
    assert len(ARRAY) == 7
    assert ARRAY.ndim == 3
    with pytest.raises(ValueError, match="reading it makes a copy"):
        np.asarray(ARRAY, copy=False)


@given(st.integers(-7, 6))
def test_iteration_and_negative_rows(row: int) -> None:
    assert np.array_equal(ARRAY[row], VALUES[row])
    assert np.array_equal(list(ARRAY)[row], VALUES[row])
