"""Equal rows: found by hashes, and made sure of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import embevo.analysis
from embevo.analysis.measures import identity
from embevo.analysis.measures.coherence import mean_pairwise_cosine
from embevo.analysis.measures.events import events_between
from embevo.analysis.measures.identity import representatives, row_hashes, words_of
from embevo.analysis.measures.lattice import displacement, places, spacing
from embevo.run.format.dtypes import NUMPY_DTYPES
from embevo.run.format.widening import widen


def by_hand(matrix: NDArray[Any]) -> list[int]:
    rows = [row.tobytes() for row in matrix]
    return [rows.index(row) for row in rows]


few_values = st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf")])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_representatives_are_the_first_with_the_same_bits(dtype: Any, data: Any) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=3, max_dims=3, max_side=6))
    values = data.draw(arrays.arrays(dtype, shape, elements=few_values))
    assert representatives(values).tolist() == [by_hand(matrix) for matrix in values]


def test_colliding_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "row_hashes", lambda words: np.zeros(words.shape[:2], np.uint64))
    values = np.random.default_rng(0).integers(0, 3, (4, 20, 2)).astype(np.float32)
    assert representatives(values).tolist() == [by_hand(matrix) for matrix in values]


def test_hashes_of_rows_that_differ_in_signs_or_order_differ() -> None:
    row = np.random.default_rng(0).normal(size=16)
    for dtype in (np.float32, np.float64):
        two_signs = np.where(np.arange(16) < 2, -row, row)
        rows = np.stack([row, -row, row[::-1], np.roll(row, 1), two_signs])
        assert len(set(row_hashes(words_of(rows.astype(dtype))).tolist())) == 5


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8).flatmap(
        lambda a: st.tuples(st.just(a), st.lists(st.integers(0, 5), min_size=len(a), max_size=len(a)))
    )
)
def test_events_account_for_every_change_of_company(pair: tuple[list[int], list[int]]) -> None:
    was, now = ([list(row).index(place) for place in row] for row in pair)
    events = list(events_between(np.array(was), np.array(now), 7))

    def holes(row: list[int]) -> list[frozenset[int]]:
        return [s for s in {frozenset(i for i, r in enumerate(row) if r == rep) for rep in row} if len(s) > 1]

    old, new = holes(was), holes(now)
    free_before, free_after = (set(range(len(was))) - set().union(*of) for of in (old, new))
    expected = []
    for hole in new:
        parents = [o for o in old if o & hole]
        expected += [("birth", set(hole))] if not parents else []
        expected += [("capture", hole & free_before)] if parents and hole & free_before else []
        expected += [("fusion", set(hole))] if len(parents) > 1 else []
    for hole in old:
        children = [n for n in new if n & hole]
        expected += [("death", set(hole))] if not children else []
        expected += [("emission", hole & free_after)] if children and hole & free_after else []
        expected += [("fission", set(hole))] if len(children) > 1 else []
    found = sorted((event.kind, sorted(event.tokens)) for event in events)
    assert found == sorted((kind, sorted(tokens)) for kind, tokens in expected)
    assert all(event.step == 7 for event in events)


@given(arrays.arrays(np.float64, (2, 5, 3), elements=st.sampled_from([0.0, 1.0, -1.0, 2.5])))
def test_the_mean_cosine_is_that_of_all_pairs(moves: NDArray[np.float64]) -> None:
    for step, found in zip(moves, mean_pairwise_cosine(moves), strict=True):
        units = [v / np.sqrt(v @ v) for v in step if v.any()]
        cosines = [units[i] @ units[j] for i in range(len(units)) for j in range(i)]
        assert np.isnan(found) if not cosines else found == pytest.approx(np.mean(cosines), abs=1e-12)


@given(st.floats(width=64), st.floats(width=64))
@example(np.finfo(np.float64).max, -np.finfo(np.float64).max)
@example(0.0, -0.0)
@example(5e-324, -5e-324)
def test_places_count_representable_numbers(a: float, b: float) -> None:
    x, y = (places(np.array([value]), np.dtype(np.float64)) for value in (a, b))
    if not np.isnan(a) and not np.isnan(b):
        assert (x < y)[0] == (a < b)
        assert (x == y)[0] == (a == b)
        assert displacement(x, y)[0] == float(abs(int(x[0]) - int(y[0])))
    if np.isfinite(a):
        with np.errstate(over="ignore"):
            up, gap = np.nextafter(a, np.inf), np.spacing(abs(a))
        assert places(np.array([up]), np.dtype(np.float64))[0] - x[0] == 1
        assert spacing(np.array([a]), np.dtype(np.float64))[0] == (gap if np.isfinite(gap) else 2.0**971)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_spacing_is_the_gap_to_the_next_number(name: str) -> None:
    dtype = NUMPY_DTYPES[name]
    unsigned = np.dtype(f"u{dtype.itemsize}")
    patterns = np.random.default_rng(0).integers(0, 1 << (8 * dtype.itemsize - 1), 3000).astype(unsigned)
    patterns[:3] = [0, 1, 5]
    with np.errstate(over="ignore", invalid="ignore"):
        finite = patterns[np.isfinite(patterns.view(dtype).astype(np.float64))]
        above = (finite + 1).astype(unsigned).view(dtype).astype(np.float64)
        gap = above - finite.view(dtype).astype(np.float64)
    kept = np.isfinite(gap)
    np.testing.assert_array_equal(spacing(widen(finite.view(dtype)), dtype)[kept], gap[kept])


def test_no_module_of_the_analysis_imports_what_records() -> None:
    for path in Path(embevo.analysis.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "embevo.recording" not in text, path
        assert "embevo.experiment" not in text, path
        # What computes an optimizer's steps again does so with torch's own optimizers.
        assert "import torch" not in text or path.parent.name == "auditing", path
