"""Whether verdicts survive another seed, number of threads, machine and length, and pieces of the run."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.analysis import Analysis, analyze
from embevo.analysis.comparison import compare
from embevo.analysis.measures.pieces import FIRST, LATER, WHOLE
from embevo.analysis.survival import Survival, families
from embevo.analysis.verdicts.verdict import Check, Outcome, Reading, Verdict
from support import trajectories

VALUES = {"supported": 1.0, "refuted": 0.0, "undecided": float("nan")}
OUTCOMES: list[Outcome] = ["supported", "refuted", "undecided"]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    values = trajectories.brownian(6, 5, 4).astype(np.float32)
    path = trajectories.record(
        tmp_path_factory.mktemp("one") / "run", values, dead=[0], config=trajectories.experiment()
    )
    return analyze(path, keep=False)


def trial(
    of: Analysis,
    outcome: Outcome,
    *,
    seed: int = 1,
    threads: int = 1,
    machine: str = "a",
    steps: int = 100,
    again: Sequence[Reading] = (),
) -> Analysis:
    """A run under these conditions, whose only prediction has this outcome."""
    check = Check("height", VALUES[outcome], (1, 2), "because", where=WHOLE, again=tuple(again))
    config = {**of.config, "seed": seed, "steps": steps}
    environment = {"processor": machine, "threads": str(threads)}
    return replace(
        of,
        run_path=Path(f"{seed}-{threads}-{machine}-{steps}"),
        config=config,
        attributes={"config": config, "environment": environment},
        summary={**of.summary, "last_step": steps},
        verdicts=[Verdict("N1", "normal", "It is high", (check,))],
    )


def survival(runs: Sequence[Analysis]) -> Survival:
    ((found,),) = [family.survivals for family in families(runs)]
    return found


CONDITIONS = st.tuples(
    st.integers(1, 2), st.integers(1, 2), st.sampled_from("ab"), st.sampled_from([100, 200])
)


@given(st.dictionaries(CONDITIONS, st.sampled_from(OUTCOMES[:2]), min_size=2, max_size=8))
def test_what_a_verdict_hangs_on_is_told_by_runs_that_differ_in_nothing_else(
    one: Analysis, outcomes: dict[tuple[int, int, str, int], Outcome]
) -> None:
    runs = [
        trial(one, outcome, seed=seed, threads=threads, machine=machine, steps=steps)
        for (seed, threads, machine, steps), outcome in outcomes.items()
    ]
    found = survival(runs)
    assert found.survives == (len(set(outcomes.values())) == 1)
    told = {tried.what: tried for tried in found.tried}
    words = ("another seed", "another number of threads", "another machine", "another length")
    for place, what in enumerate(words):
        pairs = [
            (outcomes[a], outcomes[b])
            for a, b in combinations(outcomes, 2)
            if a[place] != b[place] and a[:place] + a[place + 1 :] == b[:place] + b[place + 1 :]
        ]
        assert (what in told) == bool(pairs) == (what not in found.untried)
        if pairs:
            assert (told[what].compared, told[what].differ) == (len(pairs), sum(a != b for a, b in pairs))
            assert bool(told[what].said) == any(a != b for a, b in pairs)


def test_the_sentence_says_what_it_hangs_on_and_what_was_not_tried(one: Analysis) -> None:
    seeds = [trial(one, "refuted", seed=seed) for seed in (101, 102)]
    longer = trial(one, "supported", seed=101, steps=5000)
    assert survival([*seeds, longer]).sentence == (
        "2 refuted, 1 supported; the same for another seed (seed 101 and seed 102); not the same for another "
        "length: 1 refuted with 100 steps, 1 supported with 5,000 steps (1 of 1 comparisons); "
        "not tried: another number of threads and another machine"
    )
    assert survival(seeds).sentence.startswith("refuted in all 2 runs; the same for another seed")


def test_pieces_of_a_run_are_compared_with_the_whole_of_it(one: Analysis) -> None:
    apart = trial(one, "supported", again=[Reading(LATER, 0.0), Reading(FIRST, 1.0)])
    alike = trial(one, "supported", seed=2, again=[Reading(LATER, 1.0), Reading(FIRST, 1.0)])
    found = survival([apart, alike])
    assert [of.outcome for of in found.trials] == ["undecided", "supported"]
    assert [of.whole for of in found.trials] == ["supported", "supported"]
    pieces = {tried.what: (tried.compared, tried.differ, tried.said) for tried in found.tried}
    assert pieces[LATER] == (2, 1, "supported as a whole and refuted there in 1")
    assert pieces[FIRST] == (2, 0, "")
    assert not found.survives


def test_runs_of_other_settings_are_another_family_and_single_runs_none(one: Analysis) -> None:
    runs = [trial(one, "supported", seed=seed) for seed in (1, 2, 3)]
    config = {**runs[2].config, "dim": 8}
    other = replace(runs[2], config=config, attributes={"config": config})
    assert [family.runs for family in families([*runs[:2], other])] == [tuple(of.run_path for of in runs[:2])]
    assert families([replace(run, verdicts=[]) for run in runs]) == ()


def test_runs_of_one_seed_are_no_sample(one: Analysis) -> None:
    """However many there are of it, they count once, and decide nothing together."""
    threads = [trial(one, "supported", threads=count) for count in range(1, 7)]
    ((verdict,),) = [group.verdicts for group in compare(threads).groups]
    assert verdict.outcome == "undecided"
    assert "1 seed; 5 are needed" in verdict.explanation
    seeds = [trial(one, "supported", seed=count) for count in range(1, 6)]
    ((verdict,),) = [group.verdicts for group in compare(seeds).groups]
    assert verdict.outcome == "supported"
    assert verdict.checks[0].interval_by.startswith("over 5 seeds")
    ((verdict,),) = [group.verdicts for group in compare([*seeds[:4], trial(one, "refuted", seed=5)]).groups]
    assert (verdict.outcome, verdict.survival) == ("undecided", "1 refuted, 4 supported")


def test_a_comparison_says_it_in_json(one: Analysis) -> None:
    (family,) = compare([trial(one, "refuted", seed=seed) for seed in (1, 2)]).to_json()["survival"]
    (prediction,) = family["predictions"]
    assert (prediction["outcome"], prediction["survives"]) == ("refuted", True)
    assert prediction["trials"][0]["conditions"]["seed"] == "seed 1"
    assert prediction["sentence"].startswith("refuted in all 2 runs")
