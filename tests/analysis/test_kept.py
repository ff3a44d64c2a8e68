"""What is kept of every step is the arrays one after the other, and is in memory once."""

import pickle
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.analysis.measures import drift, random_directions
from embevo.analysis.measures import kept as kept_module
from embevo.analysis.measures.kept import Kept


def peak(work: Callable[[], object]) -> int:
    """Bytes that are in memory at once, at most, while something is done."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    width=st.integers(0, 3),
    dtype=st.sampled_from(["f8", "f4", "?", "i8"]),
)
def test_it_is_the_arrays_one_after_the_other(lengths: list[int], width: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 100, (length, width)).astype(dtype) for length in lengths]
    kept = Kept()
    for array in arrays:
        kept.append(array)
    found = kept.taken()
    np.testing.assert_array_equal(found, np.concatenate(arrays))
    assert found.dtype == np.dtype(dtype)
    with pytest.raises(ValueError, match="nothing was kept"):
        kept.taken()


@given(
    lengths=st.lists(st.lists(st.integers(0, 40), max_size=5), min_size=1, max_size=9),
    expected=st.integers(0, 500),
    sent=st.booleans(),
)
def test_what_others_kept_comes_after_it(lengths: list[list[int]], expected: int, sent: bool) -> None:
    arrays, whole = [np.empty((0, 2), np.int64)], Kept()
    for of_one in lengths:
        one = Kept()
        for length in of_one:
            arrays.append(np.full((length, 2), len(arrays)))
            one.append(arrays[-1])
        whole.take_over(pickle.loads(pickle.dumps(one)) if sent else one, expected)
        if of_one and not sent:
            with pytest.raises(ValueError, match="nothing was kept"):
                one.taken()
    if any(lengths):
        found = whole.taken()
        np.testing.assert_array_equal(found, np.concatenate(arrays))
        found[:] = 0


def test_room_for_more_is_not_sent() -> None:
    kept = Kept()
    for _ in range(513):
        kept.append(np.ones((1, 100)))
    assert len(pickle.dumps(kept)) < 8 * 100 * 513 + 1000


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=9), later=st.integers(0, 40))
def test_it_goes_on_in_another_process(lengths: list[int], later: int) -> None:
    kept = Kept()
    arrays = [np.full((length, 2), number) for number, length in enumerate(lengths)]
    for array in arrays:
        kept.append(array)
    buffers: list[pickle.PickleBuffer] = []
    sent = pickle.dumps(kept, protocol=5, buffer_callback=buffers.append)
    came = pickle.loads(sent, buffers=[bytes(buffer) for buffer in buffers])
    more = np.full((later, 2), 100)
    came.append(more)
    np.testing.assert_array_equal(came.taken(), np.concatenate([*arrays, more]))
    untouched = pickle.loads(sent, buffers=[bytes(buffer) for buffer in buffers])
    found = untouched.taken()
    np.testing.assert_array_equal(found, np.concatenate(arrays))
    found[:] = 0


def test_what_is_large_is_in_pages_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "_LARGE", 1)
    whole, arrays = Kept(), [np.full((number, 2), number, np.float32) for number in (3, 0, 4, 2)]
    for array in arrays:
        one = Kept()
        one.append(array)
        whole.take_over(one, 8)
    np.testing.assert_array_equal(whole.taken(), np.concatenate(arrays))


def test_nothing_that_was_kept_is_said() -> None:
    with pytest.raises(ValueError, match="nothing was kept"):
        Kept().taken()


def test_no_more_than_a_little_of_it_is_in_memory_twice() -> None:
    rows, tokens, parts = 40, 5000, 100

    def add() -> None:
        whole = Kept()
        for _ in range(parts):
            whole.append(np.ones((rows, tokens)))
        whole.taken()

    def take_over() -> None:
        whole = Kept()
        for _ in range(parts):
            one = Kept()
            one.append(np.ones((rows, tokens)))
            whole.take_over(one, rows * parts)
        whole.taken()

    size = 8 * rows * tokens * parts
    assert size < peak(add) < 1.1 * size
    # All of it is in pages that were asked of the kernel, which are not counted here.
    assert peak(take_over) < 0.1 * size


def test_random_ways_of_many_bodies_are_not_all_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_directions, "_AT_ONCE", 1 << 14)
    moved = np.random.default_rng(0).normal(size=(200, 16))
    before = moved[0]
    drifts = peak(lambda: drift.drifts([moved]))
    separation = peak(lambda: drift.separation(moved, before, 1.0))
    # Of 999 times 200 bodies in some of 16 dimensions, in float32.
    assert max(drifts, separation) < 999 * 200 * 16 * 4 / 8
