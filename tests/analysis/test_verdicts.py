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
from embevo.analysis.measures.growth import flight, half_growth_step
from embevo.analysis.verdicts.verdict import Check, Expects, Reading
from embevo.errors import AnalysisError
from support import trajectories

analyze = partial(analyze_run, keep=False)
ROWS, TOKENS, DIM = 601, 24, 16
DEAD = list(range(8))


def way_of(kind: str, rows: int = ROWS, tokens: int = 1, scale: float = 0.01) -> NDArray[np.float64]:
    """``(step, token, dim)`` ways: a random walk, a straight flight, one and then the other, or none."""
    walk = trajectories.brownian(rows, tokens, DIM, 5, scale)
    straight = np.arange(rows)[:, None, None] * scale + 0.05 * walk
    half = rows // 2
    return {
        "walk": walk,
        "straight": straight,
        "straight, then a walk": np.concatenate([straight[:half], straight[half] + walk[half:] - walk[half]]),
        "confined": np.random.default_rng(4).normal(size=walk.shape) * scale,
        "none": np.zeros_like(walk),
    }[kind]


def normal_run(**how: Any) -> NDArray[np.float32]:
    """What was predicted for normal initialisation of N1, N2 and N4, unless told otherwise.

    Live tokens diffuse about a centroid that moves straight on; dead ones creep away.
    """
    rng = np.random.default_rng(0)
    start = rng.normal(size=(TOKENS, DIM)) * 0.1
    time = np.arange(ROWS)[:, None, None] / (ROWS - 1)
    values = start * (1 + how.get("growth", 0.0) * time)
    values = values + trajectories.brownian(ROWS, TOKENS, DIM, 2, how.get("diffusion", 0.02))
    values[:, DEAD] = start[DEAD] + how.get("dead", 0.05) * time + 1e-5 * way_of("walk", tokens=len(DEAD))
    return np.asarray(values + way_of(how.get("way", "straight")), np.float32)


def singular_run(**how: Any) -> NDArray[np.float32]:
    """What was predicted for singular initialisation, unless told otherwise.

    Live tokens fly apart for all of the run, and are soon 0.3 away; the dead stay.
    """
    rng = np.random.default_rng(0)
    values = np.full((ROWS, TOKENS, DIM), 1.5)
    live = slice(len(DEAD), None)
    shell = rng.normal(size=(TOKENS - len(DEAD), DIM)) * 0.05
    grow = np.arange(ROWS)[:, None, None] / (ROWS - 1)
    away = np.zeros(DIM)
    away[0] = how.get("away", 0.3)
    values[:, live] += (shell - shell.mean(axis=0)) * grow * how.get("growth", 1.0)
    values[:, live] += away * np.minimum(1, 4 * grow)
    values[:, live] += trajectories.brownian(ROWS, TOKENS - len(DEAD), DIM, 2, how.get("diffusion", 0.0))
    values[:, DEAD] += how.get("dead", 0.0)
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
    # The dead creep, and the others go where they go: for the dead to stay behind, the others stay, too.
    drifting, resting = judged(normal_run(), "normal"), judged(normal_run(way="none"), "normal")
    assert [found["N1"].outcome for found in (drifting, resting)] == ["supported"] * 2
    assert drifting["N2"].outcome == "supported", drifting["N2"].explanation
    assert resting["N4"].outcome == "supported", resting["N4"].explanation
    assert not drifting["N2"].survival


@pytest.mark.parametrize(
    ("how", "prediction", "part"),
    [
        ({"diffusion": 0.0, "growth": -0.5}, "N2", 0),
        ({"diffusion": 0.0, "growth": 3.0}, "N2", 1),
        ({"way": "none"}, "N2", 2),
        ({"dead": 0.5, "way": "none"}, "N4", 0),
        ({"way": "walk", "dead": 0.0}, "N4", 1),
    ],
)
def test_each_part_of_a_normal_prediction_can_be_refuted(
    judged: Any, how: dict[str, Any], prediction: str, part: int
) -> None:
    verdict = judged(normal_run(**how), "normal")[prediction]
    assert verdict.checks[part].outcome == "refuted", verdict.explanation
    assert verdict.outcome == "refuted"
    assert verdict.deciding.outcome == "refuted"
    assert verdict.explanation.startswith("Refuted: ")


def test_tokens_that_start_together_refute_different_locations(judged: Any) -> None:
    values = normal_run()
    values[0, 3] = values[0, 4]
    verdict = judged(values, "normal")["N1"]
    assert (verdict.outcome, verdict.value) == ("refuted", 23 / 24)


def test_tokens_that_start_in_one_direction_refute_random_locations(judged: Any) -> None:
    verdict = judged(normal_run() + np.float32(1), "normal")["N1"]
    assert parts(verdict) == ["supported", "refuted"]


def test_dead_tokens_in_lockstep_make_no_drift(judged: Any) -> None:
    """Independent live tokens, and dead ones that all go one way: what the old statistic called drift."""
    values = normal_run(way="none", dead=3.0)
    moved = values[-1].astype(np.float64) - values[0]
    assert np.linalg.norm(moved.sum(axis=0)) / np.sqrt((moved**2).sum()) > 2
    assert judged(values, "normal")["N2"].checks[2].outcome == "refuted"


@pytest.mark.parametrize(
    ("kind", "expected"), [("walk", "supported"), ("straight", "refuted"), ("confined", "refuted")]
)
def test_a_centroid_walks_or_does_not(judged: Any, kind: str, expected: str) -> None:
    verdict = judged(normal_run(diffusion=0.0, way=kind), "normal")["N3"]
    assert verdict.outcome == expected, verdict.explanation
    if kind == "straight":
        assert parts(verdict) == ["refuted"] * 3


def test_tokens_that_all_go_straight_refute_a_walk_in_every_part(judged: Any) -> None:
    values = np.asarray(1 + way_of("straight", tokens=TOKENS), np.float32)
    assert parts(judged(values, "qwen")["S3"])[:3] == ["refuted"] * 3


def test_a_verdict_that_does_not_survive_says_what_holds_of_what(judged: Any) -> None:
    verdict = judged(normal_run(diffusion=0.0, way="straight, then a walk"), "normal")["N3"]
    assert verdict.outcome == "undecided"
    cosine = verdict.checks[1]
    assert cosine.survival == (
        "refuted for the whole run, the run without its first 100 steps and its first half; "
        "supported for its second half"
    )
    assert cosine.survival in verdict.explanation
    assert verdict.to_json()["checks"][1]["survival"] == cosine.survival


def test_a_run_as_predicted_for_singular_initialisation_supports_it(judged: Any) -> None:
    # Dead tokens that never move say nothing of a cluster: its null is a point, too.
    resting, moving = (
        judged(singular_run(), "qwen"),
        judged(singular_run(dead=way_of("walk", scale=0.001)), "qwen"),
    )
    for prediction, found in (("S1", resting), ("S2", resting), ("S4", resting), ("S5", moving)):
        assert found[prediction].outcome == "supported", found[prediction].explanation
    assert resting["S5"].outcome == "undecided"


@pytest.mark.parametrize(
    ("how", "prediction", "part"),
    [
        ({"growth": 0.0, "diffusion": 0.01}, "S2", 0),
        ({}, "S3", 1),
        ({}, "S3", 2),
        ({"growth": 2.0, "diffusion": 0.005}, "S3", 3),
        ({"dead": np.arange(ROWS)[:, None, None] * 2.0**-23}, "S4", 0),
        ({"apart": 0.1}, "S5", 0),
        ({"apart": 0.0001}, "S5", 1),
        ({"away": 0.9}, "S5", 2),
    ],
)
def test_each_part_of_a_singular_prediction_can_be_refuted(
    judged: Any, how: dict[str, Any], prediction: str, part: int
) -> None:
    verdict = judged(singular_run(**how), "qwen-unit")[prediction]
    assert verdict.checks[part].outcome == "refuted", verdict.explanation
    assert verdict.outcome == "refuted"


def test_tokens_that_wander_on_a_sphere_walk_and_are_at_equilibrium(judged: Any) -> None:
    rng = np.random.default_rng(0)
    values = np.empty((ROWS, TOKENS, DIM))
    values[0] = rng.normal(size=(TOKENS, DIM))
    for row in range(1, ROWS):
        values[row] = values[row - 1] + rng.normal(size=(TOKENS, DIM)) * 0.1
        values[row] *= 4 / np.linalg.norm(values[row], axis=1, keepdims=True)
    values[0] = values[1]
    rest = judged(values.astype(np.float32), "qwen")["S3"].checks[3]
    assert rest.outcome == "supported", rest.sentence


def test_a_walk_at_equilibrium_supports_it(judged: Any) -> None:
    """Of tokens that wander on a sphere by as much as its radius, and no further."""
    rng = np.random.default_rng(0)
    values = np.empty((ROWS, TOKENS, DIM))
    values[0] = rng.normal(size=(TOKENS, DIM))
    for row in range(1, ROWS):
        values[row] = values[row - 1] + rng.normal(size=(TOKENS, DIM)) * 0.04
        values[row] *= 4 / np.linalg.norm(values[row], axis=1, keepdims=True)
    values[0] = values[1]
    verdict = judged(values.astype(np.float32), "qwen")["S3"]
    assert verdict.outcome == "supported", verdict.explanation


def test_the_dead_are_imitated_by_steps_of_their_own(judged: Any) -> None:
    """Not by those of live tokens, which fly straight here while the dead wander."""
    wander = way_of("walk", tokens=len(DEAD), scale=0.001)
    check = judged(singular_run(dead=wander), "qwen")["S5"].checks[0]
    expected = check.value
    assert (check.null_low + check.null_high) / 2 == pytest.approx(expected, rel=0.2)


def test_jitter_refutes_one_location(judged: Any) -> None:
    values = singular_run()
    values[0, 0, 0] += 1e-6
    verdict = judged(values, "qwen")["S1"]
    assert (verdict.outcome, verdict.value) == ("refuted", 2)


@pytest.mark.parametrize(("kind", "expected"), [("there and back", "supported"), ("noise", "undecided")])
def test_rounding_is_no_motion(judged: Any, kind: str, expected: str) -> None:
    moves = np.random.default_rng(0).integers(-1, 2, (ROWS, 1, DIM)).cumsum(axis=0)
    if kind == "there and back":
        moves = np.arange(ROWS)[:, None, None] % 2
    verdict = judged(singular_run(dead=moves * 2.0**-23), "qwen")["S4"]
    assert verdict.outcome == expected, verdict.explanation


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


@given(st.lists(finite, min_size=5, max_size=5).map(sorted), finite)
def test_what_a_reading_decides_beside_its_null(points: list[float], value: float) -> None:
    """With what is predicted above a limit, the null's band below it, across it, and a value anywhere."""
    a, b, c, d, e = points

    def outcome(low: float, high: float, region: tuple[float, float], expects: Expects) -> str:
        return Check("x", value, region, "", null="it", null_low=low, null_high=high, expects=expects).outcome

    clear, across = outcome(a, b, (c, math.inf), "above"), outcome(b, d, (c, math.inf), "above")
    if b < c:
        assert clear == ("supported" if value >= c else "refuted")
    if b < c < d:
        assert across == ("supported" if value > d else "undecided" if value >= b else "refuted")
    # A value that the null makes as well refutes no one, and one that it does not make supports no one.
    inside = outcome(b, d, (a, e), "inside")
    assert inside == ("supported" if b <= value <= d else "undecided" if a <= value <= e else "refuted")
    beyond = outcome(b, d, (-math.inf, c), "beyond")
    assert beyond == ("supported" if value <= c else "undecided" if value <= d else "refuted")


@given(st.lists(st.sampled_from([0.0, 1.0, math.nan]), max_size=4), st.sampled_from([0.0, 1.0]))
def test_a_decision_that_does_not_hold_of_every_piece_is_none(others: list[float], first: float) -> None:
    again = tuple(Reading(f"piece {number}", value) for number, value in enumerate(others))
    check = Check("x", first, (0.5, 2), "", again=again)
    known = {value for value in others if not math.isnan(value)} | {first}
    alone = "supported" if first else "refuted"
    assert check.outcome == (alone if len(known) == 1 else "undecided")
    assert bool(check.survival) == (len(known) == 2)
    for number, value in enumerate(others):
        assert (f"piece {number}" in check.survival) == (len(known) == 2 and not math.isnan(value))


def test_a_band_that_could_be_anything_supports_nothing() -> None:
    def outcome(half: float) -> str:
        return Check(
            "x", 0, (-0.2, 0.2), "", null_low=-half, null_high=half, expects="inside", widest=0.5
        ).outcome

    assert (outcome(0.4), outcome(0.6)) == ("supported", "undecided")


def test_what_cannot_be_measured_is_undecided() -> None:
    assert Check("x", math.nan, (0, 1), "").outcome == "undecided"
    assert Check("x", 0.5, (0, 1), "", expects="above").outcome == "undecided"
    assert Check("x", 0.5, (0, 1), "", needs="more").outcome == "undecided"
    refuted, open_ = Check("x", 2, (0, 1), "why"), Check("y", math.nan, (0, 1), "")
    both = Verdict("N1", "normal", "p", (open_, refuted))
    assert (both.outcome, both.statistic, both.reason) == ("refuted", "x", "why")


def test_half_of_the_growth_by_hand() -> None:
    steps = np.arange(11) * 10
    assert half_growth_step(steps, np.array([1, 1, 2, 2.5, 4, 5, 5, 5, 5, 5, 5.0])) == pytest.approx(
        30 + 10 / 3
    )
    assert math.isnan(half_growth_step(steps, np.ones(11)))


def test_flight_by_hand() -> None:
    radius, way = np.array([1, 1.5, 2.5, 2.0]), np.array([np.nan, 1, 1, 1])
    assert flight(radius, way, 2) == pytest.approx(0.75)
    assert math.isnan(flight(radius, way * 0, 2))
