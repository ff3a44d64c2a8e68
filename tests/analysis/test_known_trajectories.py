"""Trajectories of which everything is known beforehand."""

import math
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from embevo.analysis import analyze
from embevo.analysis.projection import project
from embevo.analysis.verdicts.judge import judge
from embevo.errors import AnalysisError
from support import encoded, trajectories

# Keeping an analysis takes longer than making one; tests/analysis/test_cache.py does that.
measured = partial(analyze, keep=False)
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def test_brownian_motion_has_exponent_one(tmp_path: Path) -> None:
    values = trajectories.brownian(1201, 12, 16).astype(np.float32)
    found = measured(trajectories.record(tmp_path / "run", values, dead=[3, 5]))
    for what in ("centroid", "tokens"):
        for fit in found.summary["exponents"][what].values():
            assert abs(fit["value"] - 1) < 0.15
            assert fit["low"] < fit["value"] < fit["high"]
            assert (fit["first_lag"], fit["last_lag"]) == (10, 112)
    # Each coordinate gains scale^2 a step, for a token; a twelfth of it for the centroid.
    series = found.series
    assert series["msd_tokens"][0, 0] == pytest.approx(16 * 1e-4, rel=0.02)
    assert series["msd_centroid"][0, 0] == pytest.approx(16 * 1e-4 / 12, rel=0.1)
    assert abs(float(series["vacf"][0, 0])) < 0.02
    assert abs(float(series["dead_coherence"][1:].mean())) < 0.03


def test_ballistic_motion_has_exponent_two(tmp_path: Path) -> None:
    values = trajectories.ballistic(601, 6, 8)
    found = measured(trajectories.record(tmp_path / "run", values.astype(np.float32), dead=[1]))
    speed = values[1]
    for fit in found.summary["exponents"]["tokens"].values():
        assert fit["value"] == pytest.approx(2, abs=1e-9)
        assert fit["high"] - fit["low"] < 1e-9
    lags = found.series["lag"].to_numpy()
    mean_square = (speed**2).sum(axis=1).mean()
    np.testing.assert_allclose(found.series["msd_tokens"][:, 0], mean_square * lags**2, rtol=1e-12)
    np.testing.assert_allclose(found.series["vacf"][:, 0], 1, rtol=1e-12)
    drift = np.sqrt((speed.mean(axis=0) ** 2).sum())
    np.testing.assert_allclose(found.series["displacement_bulk"][1:, 0], drift, rtol=1e-9)
    np.testing.assert_allclose(found.series["centroid_path"][:, 0], drift * np.arange(601), rtol=1e-9)
    np.testing.assert_allclose(found.series["centroid_displacement"][:, 0], drift * np.arange(601), rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_frozen_does_not_move(tmp_path: Path, dtype: type) -> None:
    values = np.random.default_rng(0).normal(size=(1, 5, 4)).astype(dtype).repeat(130, axis=0)
    found = measured(trajectories.record(tmp_path / "run", values, dead=[0, 4]))
    series = found.series
    for name in (
        "displacement",
        "ulp_l1",
        "ulp_l2",
        "ulp_linf",
        "displacement_bulk",
        "displacement_peculiar_rms",
    ):
        assert np.isnan(series[name][0]).all()
        assert (series[name][1:] == 0).all(), name
    assert series["last_motion"].values.tolist() == [-1] * 5
    assert (series["centroid_path"] == 0).all()
    assert (series["msd_tokens"] == 0).all()
    assert np.isnan(series["vacf"]).all()
    assert np.isnan(series["dead_coherence"]).all()
    assert found.events == []
    assert found.summary["exponents"]["tokens"]["all"]["value"] is None
    # They never moved: the last motion lies before the last row, at no step.
    assert found.summary["phases"]["dead"] == {
        "flowing": None,
        "hopping": None,
        "moving": None,
        "frozen": True,
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_ulp_is_one_ulp(tmp_path: Path, dtype: type) -> None:
    start = np.array([[1.0, -1.0, 0.25, 3.0], [2.0, 2.0, 2.0, 2.0]]).astype(dtype)
    values = np.stack([start] * 5)
    up = {8: np.int64, 4: np.int32, 2: np.int16}[start.dtype.itemsize]
    # Bits count magnitudes: one up for a positive and for a negative number is one ULP either way.
    values[2:, 0].view(up)[:] += 1
    values[3:, 0, 0].view(up)[...] += 5
    found = measured(trajectories.record(tmp_path / "run", values, dead=[0]), {"min_steps": 1})
    series = found.series
    assert series["ulp_l1"][1:, 0].values.tolist() == [0, 4, 5, 0]
    assert series["ulp_l2"][1:, 0].values.tolist() == [0, 2, 5, 0]
    assert series["ulp_linf"][1:, 0].values.tolist() == [0, 1, 5, 0]
    assert series["last_motion"].values.tolist() == [3, -1]
    assert found.summary["freeze_step"] == 3
    # sqrt(dim) is 2: the second step reaches it and is not above.
    assert found.summary["phases"]["dead"] == {"flowing": 3, "hopping": 3, "moving": 3, "frozen": True}
    # What one token of a group does, the group does.
    assert found.summary["phases"]["all"] == found.summary["phases"]["dead"]
    assert series["net_ulp_linf"].values.tolist() == [6, 0]
    mantissa = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}[start.dtype.name]
    ulp = 2.0**-mantissa * np.array([1, 1, 0.25, 2])
    moved = ulp * [6, 1, 1, 1]
    assert series["net_quanta"][0] == pytest.approx(np.sqrt((moved**2).sum() / (ulp**2).sum()), rel=1e-12)


def test_black_holes_live_as_they_were_scripted(tmp_path: Path) -> None:
    # Letters are places; a row of the script is a step, a column a token.
    script = ["abcdef", "aacdef", "aaacef", "bbbcef", "bbbcce", "bbbbbf", "bbccda", "xyzabc"]
    values = np.array([[[ord(place), 1.0] for place in row] for row in script], np.float32)
    found = measured(trajectories.record(tmp_path / "run", values, dead=[4, 5]))
    seen = [(e["step"], e["kind"], e["tokens"], e["before"], e["after"]) for e in found.events]
    assert seen == [
        (1, "birth", [0, 1], [], [2]),
        (2, "capture", [2], [2], [3]),
        # At step 3 it moves as a whole, which is nothing.
        (4, "birth", [3, 4], [], [2]),
        (5, "fusion", [0, 1, 2, 3, 4], [3, 2], [5]),
        (6, "fission", [0, 1, 2, 3, 4], [5], [2, 2]),
        (6, "emission", [4], [5], [2, 2]),
        (7, "death", [0, 1], [2], []),
        (7, "death", [2, 3], [2], []),
    ]
    assert found.summary["events"] == {
        "birth": 2, "fission": 1, "fusion": 1, "emission": 1, "capture": 1, "death": 2,
    }  # fmt: skip
    assert found.series["event_count"].sum() == len(found.events)
    counts = {
        "distinct_rows": [6, 5, 4, 4, 3, 2, 4, 6],
        "black_holes": [0, 1, 1, 1, 2, 1, 2, 0],
        "black_hole_population": [0, 2, 3, 3, 5, 5, 4, 0],
        "black_hole_largest": [0, 2, 3, 3, 3, 5, 2, 0],
    }
    for name, expected in counts.items():
        assert found.series[name][:, 0].values.tolist() == expected, name
    assert found.series["distinct_rows"][:, 2].values.tolist() == [2] * 8


def test_the_final_black_holes_are_numbered_by_size(tmp_path: Path) -> None:
    values = np.array([[[ord(place)] for place in row] for row in ("abcdefgh", "axbbcxcc")], np.float32)
    found = measured(trajectories.record(tmp_path / "run", values, dead=[4, 6, 7, 1]))
    assert found.series["black_hole"].values.tolist() == [-1, 1, 2, 2, 0, 1, 0, 0]
    assert found.summary["jaccard_largest"] == pytest.approx(3 / 4)
    assert found.summary["jaccard_all"] == pytest.approx(4 / 7)


def test_zeros_of_either_sign_are_one_value_and_two_patterns(tmp_path: Path) -> None:
    values = np.array([[[0.0, 1], [-0.0, 1], [0.0, 1]], [[-0.0, 1], [-0.0, 1], [0.0, 1]]], np.float32)
    found = measured(trajectories.record(tmp_path / "run", values))
    assert found.series["distinct_rows"][:, 0].values.tolist() == [2, 2]
    assert found.series["distinct_values"][:, 0].values.tolist() == [1, 1]
    assert found.series["ulp_l1"][1].values.tolist() == [0, 0, 0]
    assert found.series["last_motion"].values.tolist() == [-1, -1, -1]
    # Bits decide who is in a black hole: token 0 left one partner for the other.
    assert [(event["kind"], event["tokens"]) for event in found.events] == [
        ("emission", [2]),
        ("capture", [1]),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_spoils_its_group_and_its_step_and_nothing_else(tmp_path: Path, dtype: type) -> None:
    values = trajectories.brownian(40, 6, 4, scale=1).astype(dtype)
    clean = measured(trajectories.record(tmp_path / "clean", values, dead=[1, 2])).series
    values[20, 4, 3] = np.nan
    values[30, 5, 0] = np.inf
    found = measured(trajectories.record(tmp_path / "run", values, dead=[1, 2])).series
    for name in ("radius_rms", "centroid_norm", "token_norm_mean", "displacement_bulk"):
        live, dead = found[name][:, 1].to_numpy(), found[name][:, 2].to_numpy()
        bad = np.flatnonzero(~np.isfinite(live))
        # A displacement has two ends.
        assert bad.tolist() == ([0, 20, 21, 30, 31] if name == "displacement_bulk" else [20, 30])
        np.testing.assert_array_equal(dead, clean[name][:, 2])
        good = np.isfinite(live)
        np.testing.assert_array_equal(live[good], clean[name][:, 1].to_numpy()[good])
    assert np.isnan(found["ulp_linf"][:, 4]).to_numpy().nonzero()[0].tolist() == [0, 20, 21]
    assert (found["distinct_rows"][:, 0] == 6).all()
    assert np.isfinite(found["msd_tokens"][:, 2]).all()
    assert np.isnan(found["msd_tokens"][0, 1])


def test_a_nan_that_stays_does_not_move(tmp_path: Path) -> None:
    values = np.full((5, 2, 2), np.nan, np.float32)
    values.view(np.uint32)[:, 1] += 7
    found = measured(trajectories.record(tmp_path / "run", values))
    assert found.series["last_motion"].values.tolist() == [-1, -1]
    assert (found.series["distinct_rows"][:, 0] == 2).all()
    assert np.isnan(found.series["pca_basis"]).all()


def test_all_at_one_point_have_no_radius(tmp_path: Path) -> None:
    point = np.random.default_rng(1).normal(size=(1, 1, 64)).astype(np.float32)
    run = trajectories.record(tmp_path / "run", point.repeat(51, axis=1), dead=list(range(13)))
    found = measured(run, judge=True)
    assert (found.series[["radius_rms", "radius_max"]].to_array() == 0).all()
    np.testing.assert_array_equal(found.series["centroid"][0, 0], point[0, 0].astype(np.float64))
    assert found.summary["initialisation"] == "singular"
    assert found.verdicts[0].outcome == "supported"


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("dead", [None, [], [0]])
def test_the_smallest_runs_are_measured_and_leave_dynamics_undecided(
    tmp_path: Path, rows: int, tokens: int, dead: list[int] | None
) -> None:
    values = trajectories.brownian(rows, tokens, 3).astype(np.float32)
    found = measured(
        trajectories.record(tmp_path / "run", values, dead=dead, config=trajectories.experiment(init="qwen"))
    )
    assert found.series.sizes["step"] == rows
    assert [verdict.outcome for verdict in found.verdicts[1:]] == ["undecided"] * 4
    if (tokens, dead) == (2, [0]):
        kept = analyze(tmp_path / "run")
        assert kept.note == ""
        assert analyze(tmp_path / "run").series.identical(kept.series)


def test_a_run_without_steps_is_an_error_that_says_so(tmp_path: Path) -> None:
    run = trajectories.record(tmp_path / "run", np.zeros((0, 2, 2), np.float32), close=False)
    with pytest.raises(AnalysisError, match="no steps yet"):
        measured(run)


def test_pairs_across_a_gap_are_left_out(tmp_path: Path) -> None:
    values = trajectories.ballistic(41, 3, 4).astype(np.float32)
    steps = [*range(20), *range(120, 141)]
    values[20:] += 50
    found = measured(trajectories.record(tmp_path / "run", values, steps=steps))
    np.testing.assert_allclose(
        found.series["msd_tokens"][:, 0],
        found.series["msd_tokens"][0, 0] * found.series["lag"] ** 2,
        rtol=1e-9,
    )
    assert found.series["lag_origins"][0] == 19 + 20
    # Nor is the jump across it a velocity; the longest lag has but one origin, which has none.
    np.testing.assert_allclose(found.series["vacf"][:-1, 0], 1, rtol=1e-9)
    np.testing.assert_allclose(found.series["vacf_centroid"][:-1, 0], 1, rtol=1e-9)
    # The displacement itself is from row to row, whatever lies between.
    assert float(found.series["displacement"][20, 0]) > 50


def test_lags_are_steps(tmp_path: Path) -> None:
    values = trajectories.ballistic(41, 3, 4).astype(np.float32)
    found = measured(trajectories.record(tmp_path / "run", values, steps=range(0, 410, 10)))
    assert found.series["lag"].values[:4].tolist() == [10, 20, 30, 40]
    assert math.isclose(float(found.series["msd_tokens"][1, 0]), 4 * float(found.series["msd_tokens"][0, 0]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_any_bits_at_all_can_be_measured(tmp_path: Path, dtype: str) -> None:
    """Signalling NaNs, infinities and subnormals among them; every row of a step is another one."""
    values = encoded.matrices(range(40), (7, 3), dtype)
    found = measured(trajectories.record(tmp_path / "run", values, dead=[1, 2]))
    assert (found.series["distinct_rows"][:, 0] == 7).all()
    # Hardly any element stays where it was.
    assert (found.series["last_motion"] == 39).all()
    project(found.run_path, [3], found.series)
    judge("normal", found.series, found.summary, found.thresholds)
