"""The verdicts: each prediction with a run that bears it out and one that does not, and how it is decided."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embevo.analysis import Thresholds, Verdict
from embevo.analysis import analyze as analyze_run
from embevo.analysis.measures.growth import half_growth_share, late_change, late_row
from embevo.analysis.measures.interval import delete_one_interval, jackknife_interval, share_interval
from embevo.analysis.verdicts.verdict import Check
from embevo.errors import AnalysisError
from support import trajectories

analyze = partial(analyze_run, keep=False)
ROWS, TOKENS, DIM = 601, 24, 16
DEAD = list(range(8))


def normal_run(**how: float) -> NDArray[np.float32]:
    """What was predicted for normal initialisation, unless told otherwise."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(TOKENS, DIM)) * 0.1
    time = np.arange(ROWS)[:, None, None]
    grown = start * (1 + how.get("growth", 1.0) * (time / (ROWS - 1)) ** how.get("power", 1.0))
    walk = trajectories.brownian(ROWS, 1, DIM, scale=how.get("walk", 0.004))
    values = grown + walk
    values[:, DEAD] = start[DEAD] + trajectories.brownian(ROWS, len(DEAD), DIM, 1, how.get("dead", 0.001))
    return values.astype(np.float32)


def singular_run(**how: float) -> NDArray[np.float32]:
    """What was predicted for singular initialisation, unless told otherwise."""
    rng = np.random.default_rng(0)
    point = np.full((1, 1, DIM), 1.5)
    values = np.repeat(point, TOKENS, axis=1).repeat(ROWS, axis=0)
    live = slice(len(DEAD), None)
    # Away at once, on average by 0.3, and from then on a walk about where that was.
    shell = rng.normal(size=(TOKENS - len(DEAD), DIM)) * 0.05
    shell[:, 0] += how.get("away", 0.3)
    grow = np.minimum(1, np.arange(ROWS) / how.get("steps", 5))[:, None, None]
    walk = trajectories.brownian(ROWS, TOKENS - len(DEAD), DIM, 2, 0.0005)
    values[:, live] += shell * grow + walk * (np.arange(ROWS) > 0)[:, None, None]
    values[1:, DEAD] += how.get("dead", 0.0)
    values[1:, DEAD] += how.get("apart", 0.0) * rng.normal(size=(len(DEAD), DIM))
    return values.astype(np.float32)


def outcomes(verdicts: list[Verdict]) -> dict[str, str]:
    return {verdict.id: verdict.outcome for verdict in verdicts}


def parts(verdict: Verdict) -> list[str]:
    return [check.outcome for check in verdict.checks]


@pytest.fixture
def judged(tmp_path: Path) -> Any:
    def run(values: NDArray[Any], init: str, thresholds: Any = None, **how: Any) -> dict[str, Verdict]:
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        trajectories.record(path, values, dead=DEAD, config=trajectories.experiment(init=init), **how)
        return {verdict.id: verdict for verdict in analyze(path, thresholds or {}).verdicts}

    return run


def test_a_run_as_predicted_for_normal_initialisation_supports_it(judged: Any) -> None:
    found = judged(normal_run(), "normal")
    assert [found[prediction].outcome for prediction in ("N1", "N2", "N4")] == ["supported"] * 3
    assert 0.7 < found["N3"].value < 1.3


@pytest.mark.parametrize(
    ("how", "prediction", "expected"),
    [
        ({"growth": -0.5}, "N2", ["refuted", "supported", "supported"]),
        ({"power": 0.05}, "N2", ["supported", "refuted", "supported"]),
        ({"walk": 0.0}, "N2", ["supported", "supported", "refuted"]),
        ({"dead": 0.02}, "N4", ["refuted", "supported"]),
        ({"dead": 0.0}, "N4", ["supported", "refuted"]),
    ],
)
def test_each_part_of_a_normal_prediction_can_be_refuted(
    judged: Any, how: dict[str, float], prediction: str, expected: list[str]
) -> None:
    verdict = judged(normal_run(**how), "normal")[prediction]
    found = parts(verdict)
    # How fast something grew that did not is not asked.
    assert [f for f, e in zip(found, expected, strict=True) if e == "refuted"] == ["refuted"]
    assert verdict.outcome == "refuted"
    assert verdict.deciding.outcome == "refuted"
    assert verdict.explanation.startswith("Refuted: ")


def test_tokens_that_start_together_refute_different_locations(judged: Any) -> None:
    values = normal_run()
    values[0, 3] = values[0, 4]
    verdict = judged(values, "normal")["N1"]
    assert (verdict.outcome, verdict.value) == ("refuted", 23 / 24)


def test_a_centroid_in_straight_flight_does_not_walk(judged: Any) -> None:
    values = normal_run(walk=0.0)
    values += np.arange(ROWS, dtype=np.float32)[:, None, None] / 64
    verdict = judged(values, "normal")["N3"]
    assert verdict.outcome == "refuted"
    assert verdict.value == pytest.approx(2, abs=0.01)


def test_a_run_as_predicted_for_singular_initialisation_supports_it(judged: Any) -> None:
    found = judged(singular_run(), "qwen")
    assert [found[prediction].outcome for prediction in ("S1", "S2", "S4", "S5")] == ["supported"] * 4
    assert parts(found["S3"])[1] == "supported"


@pytest.mark.parametrize(
    ("how", "prediction", "part"),
    [
        ({"steps": 400}, "S2", 0),
        ({"steps": 600}, "S3", 1),
        ({"dead": 0.01}, "S4", 0),
        ({"apart": 0.1}, "S5", 0),
        ({"apart": 0.001}, "S5", 1),
        ({"away": 0.9}, "S5", 2),
    ],
)
def test_each_part_of_a_singular_prediction_can_be_refuted(
    judged: Any, how: dict[str, float], prediction: str, part: int
) -> None:
    verdict = judged(singular_run(**how), "qwen-unit")[prediction]
    assert parts(verdict)[part] == "refuted"
    assert verdict.outcome == "refuted"


def test_jitter_refutes_one_location(judged: Any) -> None:
    values = singular_run()
    values[0, 0, 0] += 1e-6
    verdict = judged(values, "qwen")["S1"]
    assert (verdict.outcome, verdict.value) == ("refuted", 2)


def test_one_ulp_in_every_element_is_rounding_and_a_little_more_is_not(judged: Any) -> None:
    ulp = 2.0**-23
    for factor, expected in ((1, "supported"), (2, "refuted")):
        verdict = judged(singular_run(dead=factor * ulp), "qwen")["S4"]
        assert (verdict.outcome, verdict.value) == (expected, factor)


def test_without_counts_or_dead_tokens_what_concerns_them_is_undecided(tmp_path: Path) -> None:
    for dead, why in ((None, "does not say how often"), ([], "no dead tokens")):
        path = trajectories.record(
            tmp_path / str(dead), singular_run(), dead=dead, config=trajectories.experiment(init="qwen")
        )
        found = {verdict.id: verdict for verdict in analyze(path).verdicts}
        assert found["S1"].outcome == found["S2"].outcome == "supported"
        assert found["S4"].outcome == found["S5"].outcome == "undecided"
        assert why in found["S4"].explanation


def test_a_run_that_does_not_begin_at_step_0_is_undecided(judged: Any) -> None:
    found = judged(normal_run(), "normal", steps=range(5, 5 + ROWS))
    assert set(outcomes(list(found.values())).values()) == {"undecided"}
    assert "step 0 was not recorded" in found["N1"].explanation


def test_a_short_run_says_what_it_lacks(judged: Any) -> None:
    found = judged(normal_run()[:50], "normal")
    assert list(outcomes(list(found.values())).values()) == ["supported", *["undecided"] * 3]
    assert "49 recorded intervals; 100 are needed" in found["N2"].explanation


def test_thresholds_change_verdicts(judged: Any) -> None:
    assert judged(normal_run(), "normal", {"expansion": 5})["N2"].outcome == "refuted"
    elsewhere = {"separation_low": 0.5, "separation_high": 0.6}
    assert judged(singular_run(), "qwen", elsewhere)["S5"].outcome == "refuted"
    with pytest.raises(AnalysisError, match="did you mean tight"):
        judged(normal_run(), "normal", {"thight": 1})


@pytest.mark.parametrize(
    "text", ["tight", "tight=", "tight=narrow", "=1", "tight=nan", "tight=inf", "loose=1"]
)
def test_a_threshold_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(AnalysisError):
        Thresholds.parse([text])


def test_every_threshold_has_a_reason() -> None:
    assert all(len(reason) > 10 for reason in Thresholds.reasons().values())
    assert Thresholds.parse(["tight=0.5", "drift = 3"]) == Thresholds(tight=0.5, drift=3)


finite = st.floats(-10, 10)


@given(st.lists(finite, min_size=5, max_size=5).map(sorted))
def test_an_interval_decides_by_where_it_lies(points: list[float]) -> None:
    a, b, c, d, e = points

    def outcome(low: float, high: float, region: tuple[float, float]) -> str:
        return Check("x", (low + high) / 2, region, "", low, high, "some method").outcome

    assert outcome(b, c, (a, d)) == "supported"
    if b < c:
        assert outcome(a, b, (c, e)) == "refuted"
        assert outcome(c, e, (a, b)) == "refuted"
    if a < b < c:
        assert outcome(a, c, (b, d)) == "undecided"


def test_what_cannot_be_measured_is_undecided() -> None:
    assert Check("x", math.nan, (0, 1), "").outcome == "undecided"
    assert Check("x", 0.5, (0, 1), "", math.nan, math.nan, "a method that failed").outcome == "undecided"
    assert Check("x", 0.5, (0, 1), "", needs="more").outcome == "undecided"
    refuted, open_ = Check("x", 2, (0, 1), "why"), Check("y", math.nan, (0, 1), "")
    both = Verdict("N1", "normal", "p", (open_, refuted))
    assert (both.outcome, both.statistic, both.reason) == ("refuted", "x", "why")


def test_every_statistic_over_tokens_has_an_interval_that_holds_it(judged: Any) -> None:
    """Counts of the first row are exact, and dead tokens that move as one are no sample."""
    found = judged(normal_run(), "normal") | judged(singular_run(apart=0.001), "qwen")
    checks = [(id_, check) for id_, verdict in found.items() for check in verdict.checks]
    exact = {check.statistic for _, check in checks if not check.uncertainty}
    # Eight dead tokens are too few to leave tenths of them out.
    assert exact == {
        "share of tokens with a row of their own at step 0",
        "number of distinct rows at step 0",
        "RMS radius of the dead over that of the live",
    }
    assert all(check.low <= check.value <= check.high for _, check in checks if check.uncertainty)


def test_an_interval_over_tokens_decides(judged: Any) -> None:
    """Half of the tokens grow by 0.02 of the run and half by 0.25: which it is depends on the tokens."""
    rng = np.random.default_rng(4)
    time = np.linspace(0, 1, ROWS)[:, None, None]
    fast, slow = np.minimum(1, time / 0.04), np.minimum(1, time / 0.5)
    shell = rng.normal(size=(TOKENS, DIM)) * 0.1
    early = (np.arange(TOKENS) % 10 < 5)[:, None]
    values = 1.5 + np.where(early, fast, slow) * shell
    check = judged(values.astype(np.float32), "qwen", {"gradual_share": 0.03})["S2"].checks[0]
    assert check.value < 0.03 < check.high
    assert check.outcome == "undecided"


def test_dead_tokens_that_end_as_one_are_no_sample(judged: Any) -> None:
    tight, overlap, _ = judged(singular_run(), "qwen")["S5"].checks
    assert (tight.value, overlap.value) == (0, 1)
    assert (tight.uncertainty, overlap.uncertainty) == ("", "")
    assert judged(singular_run(apart=0.001), "qwen")["S5"].checks[1].uncertainty


def test_the_effect_says_from_which_step_on_the_cloud_should_rest(judged: Any) -> None:
    verdict = judged(singular_run(steps=600), "qwen")["S3"]
    # The summed square of a rate that falls to zero has a fifth left at 1 - 0.2^(1/3) of the run.
    assert f"changed by {verdict.checks[1].value:.3g} of its size from step 250 on" in verdict.effect


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=10)
    without = [np.delete(values, i).mean() for i in range(10)]
    low, high = jackknife_interval(float(values.mean()), without)
    # 2.262 is Student's t for nine degrees of freedom and 95 %.
    half = 2.2621571628540993 * values.std(ddof=1) / math.sqrt(10)
    assert (low, high) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))
    assert math.isnan(jackknife_interval(0.0, without[:9])[0])
    assert math.isnan(delete_one_interval(0.0, np.array(without[:9]))[0])


def test_the_interval_of_a_share_solves_the_score_equation() -> None:
    for hits, count in ((0, 9), (3, 7), (51, 53), (8, 8)):
        for end in share_interval(hits, count):
            # (p^ - p)^2 = z^2 p (1 - p) / n, which is 0 = 0 at the ends.
            error = (hits / count - end) ** 2 - 1.959963984540054**2 * end * (1 - end) / count
            assert error == pytest.approx(0, abs=1e-12)
    assert math.isnan(share_interval(0, 0)[0])


def test_half_growth_and_late_change_by_hand() -> None:
    steps = np.arange(11) * 10
    assert half_growth_share(steps, np.array([1, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5.0])) == 0.3
    assert math.isnan(half_growth_share(steps, np.ones(11)))
    radius = np.arange(1, 12, dtype=float)
    assert late_change(radius, late_row(steps, None, 0.2)) == pytest.approx(2 / 11)
    # All of the rate was spent in the first half: the last fifth of its square begins at row 4.
    rate = np.array([np.nan, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    assert late_change(radius, late_row(steps, rate, 0.2)) == pytest.approx(6 / 11)


@pytest.mark.parametrize("steps", [1000, 5000])
def test_a_cloud_that_diffuses_under_a_falling_rate_is_not_at_rest(steps: int) -> None:
    rate = np.concatenate([[np.nan], 1e-3 * (1 - np.arange(steps) / steps)])
    radius = np.sqrt(np.concatenate([[0.0], np.cumsum(rate[1:] ** 2)]))
    change = late_change(radius, late_row(np.arange(steps + 1), rate, Thresholds().equilibrium_window))
    assert change == pytest.approx(1 - math.sqrt(0.8), rel=0.01)
    assert change > Thresholds().equilibrium_change
