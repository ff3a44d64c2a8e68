"""Tokens on the lattice of numbers: counted again, number by number."""

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.csgraph
import scipy.spatial
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embevo.analysis import Analysis, analyze
from embevo.analysis.lattice_displacement import lattice_displacement
from embevo.analysis.measures.groups import Groups
from embevo.analysis.measures.lattice import places
from embevo.analysis.measures.life_cycle import LifeCycle
from embevo.analysis.measures.measure import Whole
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.phases import last_above
from embevo.analysis.measures.stillness import LONG, Stillness
from embevo.analysis.measures.ulp_graph import REACHES, graphs_of
from support import trajectories
from support.clouds import DEAD, DIM, GROUPS, ROWS, TOKENS, moving


@pytest.fixture(scope="module")
def run(field_run: Path) -> tuple[Path, NDArray[np.float64], NDArray[Any]]:
    """The run, and ``(step, token, dim)`` in float64 and as recorded."""
    values = moving()
    return field_run, values.astype(np.float64), values


@pytest.fixture(scope="module")
def found(field_run: Path) -> Analysis:
    return analyze(field_run, measures="all")


def test_signed_displacements_are_counted_up_and_down(run: Any, found: Analysis) -> None:
    path, _, raw = run
    number = places(raw.astype(np.float32), raw.dtype).astype(np.int64)
    moved = np.diff(number, axis=0)
    signed = lattice_displacement(path, [0, 7, 3])
    assert np.isnan(signed[0]).all()
    np.testing.assert_array_equal(signed[1:], moved[[6, 2]])
    # Where it moved by one, it went to the next number of that dtype.
    up = np.argwhere(moved == 1)[0]
    at, next_one = raw[up[0], up[1], up[2]], raw[up[0] + 1, up[1], up[2]]
    assert np.nextafter(at, np.array(np.inf, raw.dtype)) == next_one
    for group, ids in (("all", list(range(TOKENS))), ("dead", DEAD)):
        of, mine = found.series.sel(group=group), moved[:, ids]
        changed = (mine != 0).sum(axis=(1, 2))
        np.testing.assert_allclose(of["ulp_signed_mean"].values[1:], mine.mean(axis=(1, 2)), rtol=1e-12)
        np.testing.assert_allclose(of["ulp_moved_share"].values[1:], changed / mine[0].size, rtol=1e-12)
        single = (abs(mine) == 1).sum(axis=(1, 2)) / changed
        np.testing.assert_allclose(of["ulp_single_share"].values[1:], single, rtol=1e-12)
        np.testing.assert_allclose(of["ulp_up_share"].values[1:], (mine > 0).sum(axis=(1, 2)) / changed)
        assert np.isnan(of["ulp_signed_mean"].values[0])
    np.testing.assert_array_equal(found.series["net_ulp"].values, number[-1] - number[0])


def test_signed_displacements_of_float64_lose_no_ulp(tmp_path: Path) -> None:
    values = np.ones((4, 12, 3))
    values[1:, 2, 1] = np.nextafter(1, 2)
    values[2:, 3, 0] = -1.0
    values[3:, 4, 2] = np.nan
    path = trajectories.record(tmp_path / "run", values, zarr_dtype="native")
    series = analyze(path, keep=False).series.sel(group="all")
    assert series["ulp_signed_mean"].values[1] == 1 / 36
    assert series["ulp_signed_mean"].values[2] < -1e17
    assert np.isnan(series["ulp_signed_mean"].values[[0, 3]]).all()
    assert np.isnan(series["net_ulp"].values[4, 2])
    assert series["net_ulp"].values[2, 1] == 1


def test_the_life_of_a_token_is_known_from_its_displacements(run: Any, found: Analysis) -> None:
    _, _, raw = run
    moved = np.abs(np.diff(places(raw.astype(np.float32), raw.dtype).astype(np.int64), axis=0))
    states = found.series["state"].values.tolist()
    assert states == ["at rest", "stepping", "hopping", "flowing"]
    life = found.series["life"].values
    assert (life[0] == -1).all()
    for row, token in np.ndindex(moved.shape[:2]):
        of = moved[row, token]
        if math.sqrt((of.astype(float) ** 2).sum()) > math.sqrt(DIM):
            expected = "flowing"
        else:
            expected = "hopping" if of.max() > 1 else "stepping" if of.max() else "at rest"
        assert states[life[row + 1, token]] == expected
    for place, (_, ids) in enumerate(GROUPS):
        for state in range(4):
            assert found.series["population"].values[5, place, state] == (life[5, ids] == state).sum()
    for token, state in ((8, 0), (9, 3), (10, 3), (3, 2)):
        rows = np.flatnonzero(life[:, token] == state)
        assert found.series["last_in_state"].values[token, state] == (rows[-1] if len(rows) else -1)


def test_rests_end_with_kicks(found: Analysis) -> None:
    series = found.series
    # Token 8 rests from row 20 on and is kicked at 40, token 9 lifts off at 15, token 10 never does.
    assert series["still_stretches"].values[[8, 9, 10]].tolist() == [2, 1, 1]
    assert series["still_longest"].values[[8, 9, 10]].tolist() == [ROWS - 41, 14, ROWS - 1]
    assert series["lift_off"].values[[8, 9, 10]].tolist() == [1, 15, -1]
    assert series["kicks_of"].values[[8, 9, 10]].tolist() == [1, 1, 0]
    assert series["still_share"].values[8] == pytest.approx((20 + ROWS - 41) / (ROWS - 1))
    assert series["kicks"].sel(group="all").values[[15, 40]].tolist() == [1, 1]
    assert found.summary["kicks"] == {"all": 2, "live": 2, "dead": 0}


def told(intervals: list[float], steps: NDArray[np.int64]) -> dict[str, Any]:
    """Of one token, a row after the other, from the largest element of its displacements in ULPs."""
    rest, kicks, stretches = 0, [], []
    for row, moved in enumerate(intervals):
        if moved > 0 and rest >= LONG:
            kicks.append(row)
        rest = rest + 1 if moved == 0 else 0
        if rest == 1:
            stretches.append(0)
        if rest:
            stretches[-1] = rest
    known = [moved for moved in intervals if not np.isnan(moved)]
    moves = [int(step) for step, moved in zip(steps, intervals, strict=True) if moved > 0]
    return {
        "kicks": kicks,
        "still_share": known.count(0) / len(known) if known else np.nan,
        "still_stretches": len(stretches),
        "still_longest": max(stretches, default=0),
        "lift_off": moves[0] if moves else -1,
    }


@given(
    tokens=st.lists(
        st.lists(st.sampled_from([0.0] * 12 + [1.0, 2.0, np.nan]), min_size=60, max_size=60),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=50)
def test_rests_and_lives_are_those_of_one_row_after_the_other(tokens: list[list[float]]) -> None:
    linf = np.array(tokens).T
    linf[0] = np.nan
    l2, steps = linf * 3, np.arange(60) * 2 + 5
    outline = Outline(
        steps=steps, tokens=len(tokens), dim=16, dtype=np.dtype("f4"), groups=Groups.of(len(tokens), None)
    )
    whole = Whole(linf[:1], linf[:1], linf[:1], arrays={"ulp_l2": l2, "ulp_linf": linf})
    still, life = Stillness(outline).finish(whole), LifeCycle(outline).finish(whole)
    kicks = np.zeros(60, np.int64)
    for token, intervals in enumerate(linf.T.tolist()):
        expected = told(intervals, steps)
        kicks[expected["kicks"]] += 1
        assert still["kicks_of"][token] == len(expected.pop("kicks"))
        for name, value in expected.items():
            np.testing.assert_equal(still[name][token], value)
        states = [
            -1 if np.isnan(moved) else 3 if 3 * moved > 4 else min(int(moved), 2) for moved in intervals
        ]
        assert life["life"][:, token].tolist() == states
        for state in range(4):
            at = [int(step) for step, of in zip(steps, states, strict=True) if of == state]
            assert life["last_in_state"][token, state] == (at[-1] if at else -1)
    np.testing.assert_array_equal(still["kicks"][:, 0], kicks)
    for state in range(4):
        np.testing.assert_array_equal(life["population"][:, 0, state], (life["life"] == state).sum(axis=1))


@given(
    rows=st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=3, max_size=3), min_size=1, max_size=9
    ),
    groups=st.lists(st.lists(st.integers(0, 2), max_size=3, unique=True), max_size=4),
)
def test_the_last_row_above_a_bound_is_that_of_each_group(
    rows: list[list[float]], groups: list[list[int]]
) -> None:
    found = last_above(np.array(rows), 1, [np.array(ids, np.int64) for ids in groups])
    for ids, row in zip(groups, found, strict=True):
        above = [number for number, values in enumerate(rows) if any(values[token] > 1 for token in ids)]
        assert row == (above[-1] if above else None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_graphs_are_those_of_scipy(dtype: Any) -> None:
    rng = np.random.default_rng(5)
    start = rng.normal(size=(6, 4)).astype(dtype)[rng.integers(0, 6, 50)]
    number = places(start.astype(np.float64 if dtype is np.float64 else np.float32), np.dtype(dtype))
    number += rng.integers(-1, 2, number.shape).astype(number.dtype) * rng.choice(
        [0, 1, 3, 12, 50], (50, 1)
    ).astype(number.dtype)
    number[0], number[1] = np.iinfo(number.dtype).min, np.iinfo(number.dtype).max
    # Near in the first element alone, and exactly as far apart as counts.
    number[2] = number[3]
    number[2, 1:], number[3, 1:] = np.iinfo(number.dtype).min, np.iinfo(number.dtype).max
    number[5] = number[4]
    number[5, 2] += 64
    found = graphs_of(number)
    apart = np.array(
        [[max(abs(int(a) - int(b)) for a, b in zip(x, y, strict=True)) for y in number] for x in number]
    )
    for row, reach in enumerate(REACHES):
        joined = apart <= reach
        np.fill_diagonal(joined, 0)
        _, label = scipy.sparse.csgraph.connected_components(joined)
        size = np.bincount(label)
        degree = joined.sum(axis=1)
        expected = (
            (size > 1).sum(),
            size.max(),
            (degree == 0).sum(),
            degree.mean(),
            degree.sum() / (50 * 49),
        )
        np.testing.assert_allclose(found[row], expected, err_msg=str(reach))
    assert len({tuple(row) for row in found}) > 2


def test_tokens_within_no_ulp_are_black_holes(found: Analysis) -> None:
    series, steps = found.series, found.series["measured_step"].values
    assert series["reach"].values.tolist() == list(REACHES)
    holes = series["black_hole_largest"].sel(group="all").values[steps]
    np.testing.assert_array_equal(series["graph_largest"].values[:, 0], holes)
    np.testing.assert_array_equal(
        series["graph_components"].values[:, 0], series["black_holes"].sel(group="all").values[steps]
    )
    assert (np.diff(series["graph_density"].values, axis=1) >= 0).all()
