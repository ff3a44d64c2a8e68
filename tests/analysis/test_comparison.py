"""Several runs together: groups, medians, intervals, effects."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.analysis import Analysis, analyze
from embevo.analysis.comparison import compare
from embevo.analysis.measures.effect import Effect
from embevo.analysis.measures.interval import median_interval
from support import trajectories


def runs(folder: Path, count: int, **config: object) -> list[Analysis]:
    """Runs that differ in their seed; dead tokens 0 to 4 end in seed + 1 distinct vectors, or 5 at most."""
    found = []
    for seed in range(count):
        values = trajectories.brownian(130, 9, 4, seed).astype(np.float32)
        values[0] = values[0, 0]
        values[-1, :5] = values[-1, [min(token, seed) for token in range(5)]]
        path = folder / f"{sorted(config.items())}{seed}".replace("/", "")
        settings = trajectories.experiment(**{"init": "qwen", "seed": seed, **config})
        found.append(analyze(trajectories.record(path, values, dead=range(5), config=settings), keep=False))
    return found


def test_seeds_are_a_group_and_settings_are_not(tmp_path: Path) -> None:
    one, other = runs(tmp_path, 5, dtype="float32"), runs(tmp_path, 2, dtype="bfloat16")
    together = compare([one[0], other[0], *one[1:], other[1]])
    assert [group.label for group in together.groups] == ["dtype=float32", "dtype=bfloat16"]
    assert [len(group.runs) for group in together.groups] == [5, 2]
    (place,) = [
        index
        for index, quantity in enumerate(together.groups[0].quantities)
        if quantity.name == "distinct rows, dead tokens, in the last row"
    ]
    first = together.groups[0].quantities[place]
    assert (first.values, first.median, first.low, first.high) == ((1, 2, 3, 4, 5), 3, 1, 5)
    assert first.coverage == pytest.approx(1 - 2 / 2**5)
    start = together.groups[0].verdicts[0]
    assert (start.id, start.outcome, start.value) == ("S1", "supported", 1)
    assert together.groups[0].outcomes["S1"] == {"supported": 5}
    # Two runs are too few to say anything of the median.
    assert together.groups[1].verdicts[0].outcome == "undecided"
    assert "2 seeds; 5 are needed" in together.groups[1].verdicts[0].explanation
    effect = together.effects[place]
    assert (effect.one, effect.other) == ("dtype=float32", "dtype=bfloat16")
    assert effect.difference == 3 - 1.5
    assert effect.d == pytest.approx(1.5 / math.sqrt((4 * 2.5 + 1 * 0.5) / 5))
    assert len(together.to_json()["effects"]) == len(together.groups[0].quantities)


def test_where_a_run_lay_and_how_it_was_kept_makes_no_group(tmp_path: Path) -> None:
    found = [*runs(tmp_path, 1, store="zarr", device="cpu"), *runs(tmp_path, 1, store="both", device="cuda")]
    (group,) = compare(found).groups
    assert (group.label, len(group.runs)) == ("all", 2)


def test_attributes_without_a_configuration_tell_runs_apart(tmp_path: Path) -> None:
    """By whatever they say, wherever they say it, but for the seed."""
    values = trajectories.brownian(12, 9, 4).astype(np.float32)
    said: list[dict[str, Any]] = [
        {"lr": 1e-3, "optimizer": {"name": "adam", "seed": 1}},
        {"lr": 1e-3, "optimizer": {"name": "adam", "seed": 2}},
        {"lr": 1e-3, "optimizer": {"name": "sgd", "seed": 1}},
        {"lr": 1e-2, "optimizer": {"name": "adam", "seed": 1}, "versions": {"torch": "2"}},
    ]
    found = [
        analyze(trajectories.record(tmp_path / str(number), values, **attributes), keep=False)
        for number, attributes in enumerate(said)
    ]
    together = compare(found)
    assert [(group.label, len(group.runs)) for group in together.groups] == [
        ("lr=0.001 optimizer.name=adam", 2),
        ("lr=0.001 optimizer.name=sgd", 1),
        ("lr=0.01 optimizer.name=adam", 1),
    ]
    assert [group.verdicts for group in together.groups] == [(), (), ()]


SETTING = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b"])
SAID = st.dictionaries(st.sampled_from(["lr", "seed", "data", "x.y"]), SETTING, max_size=3)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    values = trajectories.brownian(6, 5, 4).astype(np.float32)
    return analyze(trajectories.record(tmp_path_factory.mktemp("alike") / "run", values), keep=False)


@given(st.lists(st.tuples(SAID, SAID), min_size=2, max_size=4))
def test_runs_are_one_group_exactly_if_they_say_the_same(
    alike: Analysis, said: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    """Whether in ``config``, beside it, or nested, and with a label of its own for each group."""
    found = [
        replace(alike, config=config, attributes={"config": config, "also": other}) for config, other in said
    ]
    together = compare(found)
    without = [
        repr([sorted((name, value) for name, value in part.items() if name != "seed") for part in both])
        for both in said
    ]
    assert sorted(len(group.runs) for group in together.groups) == sorted(Counter(without).values())
    assert len({group.label for group in together.groups}) == len(together.groups)


def test_a_group_decides_what_all_of_its_runs_do(tmp_path: Path) -> None:
    found = runs(tmp_path, 5)
    (group,) = compare(found).groups
    outcomes = {verdict.id: verdict.outcome for verdict in group.verdicts}
    # The Jaccard index runs from 1 down to 0, past its threshold of a half, and so do the verdicts.
    overlap = group.verdicts[4].checks[1]
    assert overlap.value == pytest.approx(np.median([a.summary["jaccard_all"] for a in found]))
    assert (overlap.low, overlap.high) == (0, 1)
    assert (overlap.outcome, outcomes["S5"]) == ("undecided", "undecided")
    assert len(group.outcomes["S5"]) > 1
    # The size of the effect is that of the part which decides.
    grown, values = group.verdicts[1], [analysis.verdicts[1].value for analysis in found]
    margin = (0.5 - np.mean(values)) / np.std(values, ddof=1)
    assert grown.effect == f"the mean over seeds is {margin:.3g} standard deviations below 0.5"
    assert outcomes["S2"] == "refuted"
    assert group.outcomes["S2"] == {"refuted": 5}


def test_cohens_d_by_hand() -> None:
    found = Effect.of("a", "b", "q", [1, 2, 3], [4, 6, 8])
    # Variances 1 and 4, pooled 2.5.
    assert found.d == pytest.approx(-4 / math.sqrt(2.5))
    half = 1.959963984540054 * math.sqrt(6 / 9 + found.d**2 / 12)
    assert (found.low, found.high) == (pytest.approx(found.d - half), pytest.approx(found.d + half))
    assert Effect.of("a", "b", "q", [1, 1], [2, 2]).d == -math.inf
    assert Effect.of("a", "b", "q", [1, 1], [1, 1]).d == 0
    assert math.isnan(Effect.of("a", "b", "q", [1], [2, 3]).d)
    assert math.isnan(Effect.of("a", "b", "q", [], []).difference)


@given(st.integers(1, 60))
def test_the_interval_of_a_median_is_the_binomial_one(count: int) -> None:
    low, high, coverage = median_interval(np.arange(1, count + 1))
    k = int(low)
    assert high == count + 1 - k
    exact = 1 - 2 * sum(math.comb(count, i) for i in range(k)) / 2**count
    assert coverage == pytest.approx(max(0, exact), abs=1e-12)
    assert coverage >= 0.95 or k == 1
    # The next pair inwards would not do.
    assert 2 * (k + 1) > count + 1 or exact - 2 * math.comb(count, k) / 2**count < 0.95


def test_the_interval_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).exponential(size=(4000, 9))
    intervals = [median_interval(sample) for sample in draws]
    hits = np.mean([low <= math.log(2) <= high for low, high, _ in intervals])
    assert hits == pytest.approx(intervals[0][2], abs=0.015)


def test_large_samples_take_no_time_and_nothing_has_no_median() -> None:
    sizes = [median_interval(np.arange(n)) for n in (100, 10_000, 150_000)]
    assert all((b[1] - b[0]) / 10 < (a[1] - a[0]) * 10 for a, b in pairwise(sizes))
    assert sizes[2][2] >= 0.95
    assert math.isnan(median_interval([])[0])
    assert math.isnan(median_interval([1.0, math.nan])[0])
