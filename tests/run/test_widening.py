"""All 65,536 bit patterns of both halves, there and back."""

import numpy as np
import pytest

from embevo.run.format.widening import narrow, widen
from support import encoded

ALL = np.arange(1 << 16, dtype=np.uint16)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_pattern_is_widened_to_the_value_it_stands_for(dtype: str) -> None:
    values = ALL.view(encoded.DTYPES[dtype])
    assert encoded.same_bits(widen(values), encoded.widened(values))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(1 << 16,), (16, 64, 64)])
def test_every_pattern_survives_the_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    values = ALL.view(encoded.DTYPES[dtype]).reshape(shape)
    back = narrow(widen(values), encoded.DTYPES[dtype])
    assert encoded.same_bits(back, values)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrowing_does_not_need_contiguous_values(dtype: str) -> None:
    values = ALL.view(encoded.DTYPES[dtype]).reshape(256, 256)
    assert encoded.same_bits(narrow(widen(values).T, encoded.DTYPES[dtype]), np.ascontiguousarray(values.T))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_values_stay_as_they_are(dtype: str) -> None:
    values = encoded.matrix(3, (4, 5), dtype)
    assert widen(values) is values
    assert narrow(values, values.dtype) is values
