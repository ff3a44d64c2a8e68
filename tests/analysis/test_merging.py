"""Measuring a run in one pass, and measuring stretches of it by themselves and merging them, is the same."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embevo.analysis.measurement import Measurement, Stretch
from embevo.analysis.measures import events
from embevo.analysis.measures.groups import Groups
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.registry import VARIABLES, chosen, measures_of
from embevo.errors import ArgumentError
from embevo.run.format.tokens import Tokens
from support import trajectories

TOKENS, DIM = 12, 3


def values_of(rows: int, seed: int, dtype: type) -> NDArray[Any]:
    """A cloud that grows from one point, with tokens that stay together and part, and zeros of both signs."""
    values = trajectories.brownian(rows, TOKENS, DIM, seed) + 1
    values[0] = values[0, 0]
    values[:, 1] = np.where(np.arange(rows)[:, None] % 7 < 4, values[:, 2], values[:, 1])
    values[:, 3] = np.where(np.arange(rows)[:, None] % 2, 0.0, -0.0)
    return values.astype(dtype)


def outline_of(
    steps: Sequence[int], dtype: type, basis: Literal["final", "all"], measures: str = "core"
) -> Outline:
    count = np.arange(TOKENS)
    count[1:5] = 0
    return Outline(
        steps=np.array(steps),
        tokens=TOKENS,
        dim=DIM,
        dtype=np.dtype(dtype),
        groups=Groups.of(TOKENS, Tokens(count)),
        basis=basis,
        min_lag=1,
        max_share=0.5,
        measures=chosen(measures),
    )


def measured(
    outline: Outline, values: NDArray[Any], start: int, stop: int, sizes: Sequence[int], *, sent: bool
) -> Stretch:
    """Rows of a stretch in blocks of these sizes, over and over; ``sent`` as to another process and back."""
    wide = values.astype(np.float32) if values.dtype.itemsize == 2 else values
    stretch = Stretch(outline, start, wide[start - 1] if start else None)
    number = 0
    while stretch.stop < stop:
        stretch.take(wide[stretch.stop : min(stop, stretch.stop + sizes[number % len(sizes)])])
        number += 1
    return copy.deepcopy(stretch) if sent else stretch


def assert_same(one: Measurement, other: Measurement) -> None:
    assert one.arrays.keys() == other.arrays.keys()
    for name, expected in other.arrays.items():
        found = one.arrays[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
        if expected.dtype.kind != "f":
            assert found.tolist() == expected.tolist(), name
        elif name == "pca_basis" or name == "centroid_projected":
            # Directions of equal width are any that span the same plane; the widest is compared.
            continue
        else:
            known = expected[np.isfinite(expected)]
            scale = float(np.abs(known).max()) if known.size else 0.0
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * scale, err_msg=name)
    assert one.events == other.events
    assert {n: repr(v) for n, v in one.numbers.items() if n != "exponents"}.keys() == (
        other.numbers.keys() - {"exponents"}
    )
    for name in ("phases", "freeze_step", "events", "jaccard_all", "lag_tokens"):
        assert one.numbers[name] == other.numbers[name], name


@settings(max_examples=35)
@given(st.data())
def test_stretches_merged_in_order_are_one_pass(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 170), "rows")
    dtype = data.draw(st.sampled_from([np.float64, np.float32, np.float16, ml_dtypes.bfloat16]), "dtype")
    basis = data.draw(st.sampled_from(["final", "all"]), "basis")
    gaps = data.draw(st.sets(st.integers(1, max(1, rows - 1)), max_size=4), "rows after a gap")
    steps = np.cumsum([0 if row == 0 else 9 if row in gaps else 2 for row in range(rows)])
    values = values_of(rows, data.draw(st.integers(0, 9), "seed"), dtype)
    for row in data.draw(st.lists(st.integers(0, rows - 1), max_size=3), "rows with a NaN"):
        values[row, data.draw(st.integers(0, TOKENS - 1), "token")] = np.nan
    cuts = data.draw(st.lists(st.integers(1, max(1, rows - 1)), max_size=5, unique=True), "cuts")
    bounds = [0, *sorted(cut for cut in cuts if cut < rows), rows]
    sizes = st.lists(st.integers(1, 60), min_size=1, max_size=4)
    outline = outline_of(
        steps.tolist(), dtype, basis, data.draw(st.sampled_from(["all", "core"]), "measures")
    )

    whole = measured(outline, values, 0, rows, [rows], sent=False).finish()
    stretches = [
        measured(
            outline, values, start, stop, data.draw(sizes, "blocks"), sent=data.draw(st.booleans(), "sent")
        )
        for start, stop in pairwise(bounds)
    ]
    # In any order that keeps neighbours together: two are merged at a place that is drawn.
    while len(stretches) > 1:
        place = data.draw(st.integers(0, len(stretches) - 2), "place")
        stretches[place].merge(stretches.pop(place + 1))
    assert_same(stretches[0].finish(), whole)


def test_long_lags_reach_across_many_stretches() -> None:
    rows = 700
    values = values_of(rows, 0, np.float64)
    outline = outline_of(range(rows), np.float64, "final")
    whole = measured(outline, values, 0, rows, [32], sent=False).finish()
    assert whole.arrays["lag"][-1] > 300
    stretch, *others = (
        measured(outline, values, start, min(rows, start + 3), [2], sent=False) for start in range(0, rows, 3)
    )
    for other in others:
        stretch.merge(other)
    assert_same(stretch.finish(), whole)


def test_the_list_of_events_ends_where_one_pass_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_LISTED_TOKENS", 30)
    values = values_of(60, 1, np.float32)
    outline = outline_of(range(60), np.float32, "final")
    whole = measured(outline, values, 0, 60, [7], sent=False).finish()
    assert 0 < len(whole.events) < whole.arrays["event_count"].sum()
    for cut in range(1, 60):
        stretch = measured(outline, values, 0, cut, [5], sent=False)
        stretch.merge(measured(outline, values, cut, 60, [5], sent=False))
        assert stretch.finish().events == whole.events


def test_principal_components_of_all_rows_do_not_depend_on_the_stretches() -> None:
    values = values_of(90, 3, np.float64) * [1, 2, 4] + 1e6
    outline = outline_of(range(90), np.float64, "all")
    stretch = measured(outline, values, 0, 31, [4], sent=False)
    stretch.merge(measured(outline, values, 31, 90, [9], sent=False))
    apart = values.reshape(-1, DIM) - values.reshape(-1, DIM).mean(axis=0)
    _, singular, basis = np.linalg.svd(apart, full_matrices=False)
    arrays = stretch.finish().arrays
    np.testing.assert_allclose(arrays["pca_variance"], singular**2 / len(apart), rtol=1e-9)
    np.testing.assert_allclose(np.abs(arrays["pca_basis"] @ basis.T), np.eye(DIM), atol=1e-9)


def test_stretches_that_do_not_meet_are_refused() -> None:
    values, outline = values_of(20, 0, np.float32), outline_of(range(20), np.float32, "final")
    first = measured(outline, values, 0, 5, [5], sent=False)
    with pytest.raises(ArgumentError, match="up to 5 and those from 6 on are not adjacent"):
        first.merge(measured(outline, values, 6, 20, [5], sent=False))
    with pytest.raises(ArgumentError, match="rows 0 to 5 were measured of a run of 20"):
        first.finish()
    with pytest.raises(ArgumentError, match="from row 5 on needs the row before"):
        Stretch(outline, 5)
    with pytest.raises(ArgumentError, match="from row 0 on has no row before"):
        Stretch(outline, 0, values[0])


def test_every_variable_is_given_by_its_measure() -> None:
    values, outline = values_of(20, 0, np.float32), outline_of(range(20), np.float32, "final", "all")
    whole = measured(outline, values, 0, 20, [5], sent=False)
    for measure in whole.measures:
        assert len({variable.name for variable in measure.variables}) == len(measure.variables)
    arrays = whole.finish().arrays
    declared = {variable.name for measure in measures_of(outline) for variable in measure.variables}
    assert arrays.keys() == declared - {"loss", "learning_rate", "token_count"}
    assert len(declared) > 80
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        dimensions = VARIABLES[name].dimensions
        assert array.ndim == len(dimensions), name
        for axis, size in zip(dimensions, array.shape, strict=True):
            assert sizes.setdefault(axis, size) == size, (name, axis)
