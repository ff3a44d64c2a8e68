"""Surrogates keep what they say they keep, are what their kind says, and are never taken for a training."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from embevo_cli.main import embevo as command
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import embevo
from embevo import AnalysisError, ArgumentError
from embevo.analysis import (
    Thresholds,
    analyze,
    audit,
    judged_surrogates,
    null_distribution,
    surrogates,
    write_surrogate,
)
from embevo.analysis.nulls import distribution, trajectory
from embevo.analysis.nulls.kinds import KINDS, Kind
from embevo.run.format.token_subset import TokenSubset
from support.encoded import DTYPES
from support.stepped import WEIGHTS, adamw, train
from support.trajectories import brownian, experiment, record

WALKS: tuple[Kind, ...] = ("brownian", "shuffled-steps", "shuffled-tokens")


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def ulp(values: NDArray[Any]) -> NDArray[np.float64]:
    """The largest gap to a neighbour of each value."""
    spacing = {2: 2.0**-7, 4: 2.0**-23, 8: 2.0**-52}[values.dtype.itemsize]
    return np.maximum(np.abs(values.astype(np.float64)) * spacing, 1e-38)


@settings(max_examples=12, deadline=None)
@given(
    dtype=st.sampled_from(["float32", "bfloat16", "float64"]),
    rows=st.integers(1, 12),
    at_once=st.sampled_from([1, 200, 1 << 20]),
    seed=st.integers(0, 99),
)
def test_each_kind_keeps_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, rows: int, at_once: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("nulls") / "run"
    values = brownian(rows, 5, 3, seed=seed, scale=1.0).astype(DTYPES[dtype])
    # A token that rests stays at rest.
    values[:, 4] = values[0, 4]
    record(path, values, steps=range(0, 3 * rows, 3), block_steps=4, zarr_dtype="native")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory, "BLOCK_BYTES", at_once)
        made: dict[Kind, NDArray[Any]] = {kind: next(surrogates(path, kind, 1, seed)) for kind in WALKS}
    wide = values.astype(np.float64)
    for kind in WALKS:
        assert (made[kind].dtype, made[kind].shape) == (values.dtype, values.shape)
    walk = made["brownian"].astype(np.float64)
    assert (bits(made["brownian"][0]) == bits(values[0])).all()
    assert (walk[:, 4] == walk[0, 4]).all()
    # Each element is rounded at either end of a step, and sums are rounded in float64.
    summed = 8 * rows * 2.0**-53 * max(1, np.abs(wide).max(), np.abs(walk).max())
    slack = np.linalg.norm(ulp(made["brownian"]) + summed, axis=2)
    lengths = [np.linalg.norm(np.diff(of, axis=0), axis=2) for of in (walk, wide)]
    assert (np.abs(lengths[0] - lengths[1]) <= slack[1:] + slack[:-1]).all()
    shuffled = made["shuffled-steps"]
    assert (bits(shuffled[0]) == bits(values[0])).all()
    # A sum that is off by less than half a unit in the last place is rounded to where it should be.
    assert dtype == "float64" or (bits(shuffled[-1]) == bits(values[-1])).all()
    assert np.abs(shuffled[-1].astype(np.float64) - wide[-1]).max() <= summed
    taken = np.sort(np.diff(shuffled.astype(np.float64), axis=0), axis=0)
    tolerance = 2 * ulp(shuffled).max(initial=0) + summed
    np.testing.assert_allclose(taken, np.sort(np.diff(wide, axis=0), axis=0), atol=tolerance)
    # The rows of the tokens are those of the run, in one order throughout.
    dealt = {tuple(map(bytes, bits(values[:, token]))) for token in range(5)}
    assert {tuple(map(bytes, bits(made["shuffled-tokens"][:, token]))) for token in range(5)} == dealt


def test_steps_are_shuffled_together_for_all_tokens(tmp_path: Path) -> None:
    # The step to row t has length t, so that the order shows.
    moved = np.arange(20, dtype=np.float64)[:, None, None] * np.ones((20, 4, 1))
    path = record(tmp_path / "run", moved.cumsum(axis=0), block_steps=8)
    made = next(surrogates(path, "shuffled-steps", 1))
    order = np.diff(made[:, :, 0], axis=0)
    assert (order == order[:, :1]).all()
    assert sorted(order[:, 0]) == list(range(1, 20))
    assert order[:, 0].tolist() != list(range(1, 20))


def test_directions_are_independent_and_isotropic(tmp_path: Path) -> None:
    steady = np.arange(400)[:, None, None] * np.ones((400, 8, 4)) / 64
    path = record(tmp_path / "run", steady)
    moved = np.diff(np.stack(list(surrogates(path, "brownian", 3))).astype(np.float64), axis=1)
    units = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
    count = units[..., 0].size
    # Means of `count` numbers of variance 1/4: five standard deviations.
    assert np.abs(units.mean(axis=(0, 1, 2))).max() < 5 * np.sqrt(0.25 / count)
    second = np.einsum("atki,atkj->ij", units, units) / count
    np.testing.assert_allclose(second, np.eye(4) / 4, atol=5 * np.sqrt(0.125 / count))
    follow = (units[:, 1:] * units[:, :-1]).sum(axis=-1)
    assert abs(follow.mean()) < 5 * np.sqrt(0.25 / follow.size)


def test_surrogates_of_a_seed_do_not_depend_on_how_many(tmp_path: Path) -> None:
    path = record(tmp_path / "run", brownian(30, 4, 3).astype(np.float32))
    for kind in WALKS:
        some = list(surrogates(path, kind, 2, seed=5))
        more = list(islice(surrogates(path, kind, 1000, seed=5), 3))
        assert all((one == other).all() for one, other in zip(some, more, strict=False))
        assert not (more[0] == more[1]).all()
        assert not (more[0] == next(surrogates(path, kind, 1, seed=6))).all()


@pytest.mark.parametrize("implementation", ["fused", "foreach", "plain"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_noise_is_stepped_on_as_torch_does(tmp_path: Path, dtype: torch.dtype, implementation: str) -> None:
    path = adamw(implementation=implementation, dtype=dtype).record(tmp_path / "run")
    made = embevo.open_run(write_surrogate(path, tmp_path / "null", "adamw-noise", 3))
    rates = made["learning_rate"][:]
    how = {"fused": implementation == "fused", "foreach": implementation == "foreach"}
    weight = nn.Parameter(made[WEIGHTS].torch("native", 0))
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.1, **how)
    gradients = made[f"{WEIGHTS}.grad"].torch("native")
    for row in range(1, len(rates)):
        optimizer.param_groups[0]["lr"] = float(rates[row])
        weight.grad = gradients[row].clone()
        optimizer.step()
        assert torch.equal(weight, made[WEIGHTS].torch("native", row))
        moment = made[f"{WEIGHTS}.exp_avg_sq"].torch("native", row)
        assert torch.equal(optimizer.state[weight]["exp_avg_sq"], moment)
    # The first state is the run's, and an audit explains the rest.
    assert torch.equal(made[WEIGHTS].torch("native", 0), embevo.open_run(path)[WEIGHTS].torch("native", 0))
    assert audit(made).explained
    np.testing.assert_array_equal(rates, embevo.open_run(path)["learning_rate"][:])


def test_noise_is_as_long_as_the_recorded_gradients(tmp_path: Path) -> None:
    stepped = adamw()
    for row in stepped.rows[1:]:
        row[f"{WEIGHTS}.grad"][3] = 0
        row[f"{WEIGHTS}.grad"][5] *= 100
    path = stepped.record(tmp_path / "run")
    found = []
    for seed in range(20):
        made = embevo.open_run(write_surrogate(path, tmp_path / f"null-{seed}", "adamw-noise", seed))
        found.append(np.asarray(made[f"{WEIGHTS}.grad"][1:]))
    squares = np.square(np.stack(found)).mean(axis=(0, 3))
    recorded = np.square(np.asarray(embevo.open_run(path)[f"{WEIGHTS}.grad"][1:])).mean(axis=2)
    assert (squares[:, 3] == 0).all()
    # A mean of 20 x 8 squares scatters by 11 %.
    np.testing.assert_allclose(squares, recorded, rtol=0.6)
    assert np.abs(np.log(squares[:, [0, 5]] / recorded[:, [0, 5]]).mean()) < 0.1


def test_what_a_kind_needs_and_a_run_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "run", brownian(9, 4, 3).astype(np.float32), steps=[0, 1, 2, 3, 4, 5, 7, 8, 9])
    with pytest.raises(AnalysisError, match="does not say which optimizer"):
        surrogates(path, "adamw-noise", 1)
    with pytest.raises(AnalysisError, match="gaps before steps 7"):
        surrogates(path, "adamw-noise", 1, optimizer={"class": "AdamW"})
    with pytest.raises(ArgumentError, match="at least 0"):
        surrogates(path, "brownian", -1)
    with pytest.raises(ArgumentError, match="seed=-1"):
        surrogates(path, "brownian", 1, seed=-1)
    monkeypatch.setattr(trajectory, "_SHARE", 0)
    with pytest.raises(AnalysisError, match="shuffled in memory"):
        surrogates(path, "shuffled-steps", 1)
    assert "lie in each other" in run("null", path, "--out", path / "null", code=2).stderr
    assert "--out" in run("null", path, code=2).stderr


def test_a_surrogate_of_sgd_steps_as_sgd(tmp_path: Path) -> None:
    def make(weight: nn.Parameter) -> torch.optim.Optimizer:
        return torch.optim.SGD([weight], lr=0.1, momentum=0.9)

    stepped = train(make, {"class": "SGD", "implementation": "plain", "momentum": 0.9})
    path = stepped.record(tmp_path / "run")
    assert audit(write_surrogate(path, tmp_path / "null", "adamw-noise")).explained


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "adamw-noise"])
def test_a_surrogate_is_a_run_that_says_what_it_is(tmp_path: Path, kind: Kind) -> None:
    ids = [1, 4, 5, 9]
    values = brownian(50, 4, 3).astype(DTYPES["bfloat16"])
    path = record(tmp_path / "run", values, steps=range(0, 100, 2), tokens=TokenSubset.of(ids, 12), dead=[1])
    embevo.annotate(path, tokenizer=[f"t{token}" for token in range(12)], groups={"mine": [4, 9]})
    shown = run("null", path, "--kind", kind, "--out", tmp_path / "null", "--seed", 4).output
    assert "embevo analyze" in shown
    made, of = embevo.open_run(tmp_path / "null"), embevo.open_run(path)
    assert (made["embeddings"].native[:] == next(surrogates(of, kind, 1, seed=4))).all()
    assert made.steps.tolist() == of.steps.tolist()
    assert made.frame.token_ids.tolist() == ids
    assert made.token_names.labels == of.token_names.labels
    assert made.groups["mine"].tolist() == [4, 9]
    assert made.tokens is not None
    assert made.tokens.count.tolist() == [1, 0, 3, 4]
    assert np.isnan(made["loss"][:]).all()
    assert (made["learning_rate"][:] == of["learning_rate"][:]).all()
    assert embevo.verify(tmp_path / "null").problems == []
    assert f"a {kind} surrogate of run, seed 4; no training made it" in run("info", tmp_path / "null").output
    assert "already" in run("null", path, "--out", tmp_path / "null", code=2).stderr.lower()


def test_surrogates_are_judged_as_runs_are(tmp_path: Path) -> None:
    """In memory, without what no verdict asks for, and by the thresholds that are given."""
    values = brownian(130, 16, 6, scale=0.1).astype(np.float32)
    path = record(tmp_path / "run", values, dead=range(5), config=experiment(init="normal"))
    found = judged_surrogates(path, "brownian", 3, seed=4)
    assert {sum(of.values()) for of in found.outcomes.values()} == {3}
    (first,) = (judged_surrogates(path, "brownian", 1, seed=4),)
    judged = analyze(write_surrogate(path, tmp_path / "null", "brownian", 4), judge=True, keep=False).verdicts
    assert {name: list(of) for name, of in first.outcomes.items()} == {of.id: [of.outcome] for of in judged}
    # The dead of a brownian surrogate get as far as random walks, and no further.
    assert found.share("N4", "refuted") == 1
    other = judged_surrogates(path, "brownian", 3, seed=4, thresholds=Thresholds.of({"min_steps": 500}))
    assert other.share("N4", "undecided") == 1
    shown = run("null", path, "--verdicts", "--count", 3, "--seed", 4).output
    assert "N4 Dead tokens drift slightly but stay near the origin: 0.0% supported, 100.0% refuted" in shown
    assert (
        json.loads(run("null", path, "--verdicts", "--count", 3, "--seed", 4, "--json").output)
        == found.to_json()
    )
    assert "stay undecided" not in shown
    short = record(tmp_path / "short", values[:40], dead=range(5), config=experiment(init="normal"))
    shown = run("null", short, "--verdicts", "--count", 1).output
    assert "The run has 39 steps: below 100 most predictions stay undecided." in shown
    assert "leave out" in run("null", path, "--verdicts", "--measure", "tokens", code=2).stderr
    with pytest.raises(ArgumentError, match="at least 1"):
        judged_surrogates(path, "brownian", 0)


def test_no_verdict_is_given_on_a_surrogate_unless_asked_for(tmp_path: Path) -> None:
    values = brownian(40, 16, 4, scale=0.1).astype(np.float32)
    path = record(tmp_path / "run", values, config=experiment(), dead=[3, 4])
    assert analyze(path, keep=False).applies.judged
    made = write_surrogate(path, tmp_path / "null", "brownian")
    found = analyze(made, keep=False)
    assert not found.applies.judged
    assert "This is a brownian surrogate of run, seed 0; no training made it" in found.applies.statement
    judged = analyze(made, keep=False, judge=True)
    assert judged.verdicts
    assert judged.applies.statement.startswith("NOT A TRAINING: this is a brownian surrogate of run")
    together = json.loads(run("analyze", path, made, "--json", "--no-keep").output)
    assert len(together["comparison"]["groups"]) == 2


def test_a_number_is_set_against_chance(tmp_path: Path) -> None:
    # Tokens that run straight ahead: nothing that takes such steps in random directions gets as far.
    steady = (np.arange(30)[:, None, None] * np.ones((30, 5, 3)) / 64).astype(np.float32)
    steady[:, 3:] *= -1
    path = record(tmp_path / "run", steady, block_steps=8)
    found = null_distribution(path, "groups.all.radius_rms_last", "brownian", 19, seed=2)
    assert found.value == analyze(path, keep=False).summary["groups"]["all"]["radius_rms_last"]
    # An independent computation of each surrogate's number.
    expected = [
        np.sqrt(np.square(made[-1] - made[-1].mean(axis=0)).sum(axis=1).mean())
        for made in (of.astype(np.float64) for of in surrogates(path, "brownian", 19, seed=2))
    ]
    np.testing.assert_allclose(found.values, expected, rtol=1e-12)
    assert (found.below, found.equal, found.p_high, found.p_low) == (19, 0, 1 / 20, 1)
    # The last state is the run's, and so is what is measured of it, but for rounding.
    same = null_distribution(path, "groups.all.radius_rms_last", "shuffled-steps", 3)
    assert (same.below, same.equal) == (0, 3)
    told = json.loads(run("null", path, "--measure", "groups.all.radius_rms_last", "--count", 19, "--seed", 2,
                          "--json").output)  # fmt: skip
    assert told["values"] == found.values.tolist()
    assert (
        "19 of 19 brownian surrogates (seed 2) are smaller"
        in run("null", path, "--measure", "groups.all.radius_rms_last", "--count", 19, "--seed", 2).output
    )
    # What is measured where it is chosen is measured here, and how many threads measure tells nothing.
    rank = [null_distribution(path, "groups.all.rankme_last", "brownian", 4, jobs=jobs) for jobs in (1, 2)]
    assert rank[0].values.tolist() == rank[1].values.tolist()
    assert "groups.all.radius_rms_last" in run("null", path, "--measure", "radius_rms", code=2).stderr
    assert "choose one" in run("null", path, "--measure", "x", "--out", tmp_path / "x", code=2).stderr
    # The loss is the training's, and no surrogate has one.
    assert null_distribution(path, "loss_last", "brownian", 2).known == 0


@pytest.mark.parametrize("name", ["groups.all.radius_rms_last", "drifts.the whole run.value"])
def test_what_simulates_chance_is_measured_where_it_is_asked_for_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = record(tmp_path / "run", brownian(130, 8, 4, 3).astype(np.float32))
    found = null_distribution(path, name, "brownian", 2)
    assert found.known == 2
    monkeypatch.setattr(distribution, "SIMULATED", ())
    assert found.to_json() == null_distribution(path, name, "brownian", 2).to_json()
