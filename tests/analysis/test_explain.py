"""A token's updates taken apart, against the optimizer's equations written out step by step."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from embevo_cli.main import embevo as command
from torch import nn

from embevo import AnalysisError, ArgumentError
from embevo.analysis import Explanation, explain
from embevo.analysis.explaining.parts import half_gap
from embevo.run.format.dtypes import NUMPY_DTYPES
from support.stepped import GRADIENT, STEPS, TOKENS, WEIGHTS, Stepped, adamw, train

TOKEN = 3
SGD = {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}


def sgd(*, nesterov: bool, dampening: float) -> Stepped:
    options = {"momentum": 0.9, "dampening": dampening, "weight_decay": 0.1, "nesterov": nesterov}

    def make(weight: nn.Parameter) -> torch.optim.Optimizer:
        return torch.optim.SGD([weight], lr=0.1, **options)

    return train(make, {"class": "SGD", **options}, dtype=torch.float64)


def adam(kind: type[torch.optim.Adam], *, dtype: torch.dtype = torch.float64) -> Stepped:
    def make(weight: nn.Parameter) -> torch.optim.Optimizer:
        return kind([weight], lr=0.1, weight_decay=0.1)

    return train(make, {"class": kind.__name__, "weight_decay": 0.1}, dtype=dtype)


TRAININGS = {
    "AdamW": lambda: adam(torch.optim.AdamW),
    "Adam": lambda: adam(torch.optim.Adam),
    "SGD": lambda: sgd(nesterov=False, dampening=0.2),
    "nesterov": lambda: sgd(nesterov=True, dampening=0.0),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_the_parts_together_are_the_step_that_the_optimizer_made(tmp_path: Path, name: str) -> None:
    """In float64 next to nothing is lost, so that what was attempted is what torch has done."""
    stepped = TRAININGS[name]()
    run = stepped.record(tmp_path / "run")
    for token in (0, TOKEN):
        found = explain(run, token)
        moved = np.stack([row[WEIGHTS][token].numpy() for row in stepped.rows])
        assert np.array_equal(found.realised, np.diff(moved, axis=0))
        assert np.allclose(found.attempted, found.realised, rtol=1e-9, atol=1e-14)
        assert all(np.abs(part).max() > 1e-5 for part in (found.gradient, found.momentum[1:], found.decay))
        assert np.abs(found.momentum[0]).max() == 0


def by_hand(stepped: Stepped, token: int) -> dict[str, Any]:
    """AdamW's parts, from the recorded numbers, one element at a time, in Python's floats."""
    parts: dict[str, Any] = {name: [] for name in ("gradient", "momentum", "decay")}
    for count in range(1, len(stepped.rows)):
        before, after, rate = stepped.rows[count - 1], stepped.rows[count], stepped.rates[count]
        of_step: dict[str, list[float]] = {name: [] for name in parts}
        for dim in range(before[WEIGHTS].shape[1]):
            first = float(before[f"{WEIGHTS}.exp_avg"][token, dim]) if count > 1 else 0.0
            second = float(after[f"{WEIGHTS}.exp_avg_sq"][token, dim])
            divisor = ((second / (1 - 0.999**count)) ** 0.5 + 1e-8) * (1 - 0.9**count)
            of_step["gradient"].append(-rate * (1 - 0.9) * float(after[GRADIENT][token, dim]) / divisor)
            of_step["momentum"].append(-rate * 0.9 * first / divisor)
            of_step["decay"].append(-rate * 0.1 * float(before[WEIGHTS][token, dim]))
        for name, values in of_step.items():
            parts[name].append(values)
    return parts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_each_part_is_that_of_the_equation(tmp_path: Path, dtype: torch.dtype) -> None:
    stepped = adam(torch.optim.AdamW, dtype=dtype)
    run = stepped.record(tmp_path / "run")
    found = explain(run, TOKEN)
    for name, values in by_hand(stepped, TOKEN).items():
        assert np.allclose(getattr(found, name), values, rtol=1e-9, atol=1e-15)
    everyone = [by_hand(stepped, token) for token in range(TOKENS)]
    mean = np.mean([np.sum([of[name] for name in of], axis=0) for of in everyone], axis=0)
    assert np.allclose(found.common, mean, rtol=1e-9, atol=1e-15)
    assert np.allclose(found.own + mean, found.attempted)
    assert np.allclose(found.lost, found.realised - found.attempted)
    unit = found.weights / np.linalg.norm(found.weights, axis=1, keepdims=True)
    along = np.einsum("sd,sd->s", unit, found.attempted)
    across = np.linalg.norm(found.attempted - along[:, np.newaxis] * unit, axis=1)
    assert np.allclose(found.radial, along)
    assert np.allclose(found.tangential, across)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_half_a_gap_is_where_rounding_turns(dtype: str) -> None:
    """Just under it a number stays what it is, and just above it becomes its neighbour."""
    drawn = np.random.default_rng(3)
    values = np.concatenate([drawn.normal(size=300), [1.0, -1.0, 2.0, -0.5, 4.0]]).astype(NUMPY_DTYPES[dtype])
    for sign in (1.0, -1.0):
        gap = half_gap(values, np.full(len(values), sign))
        if dtype == "float64":
            assert np.array_equal(gap * 2, np.abs(np.nextafter(values, sign * np.inf) - values))
            continue
        wide = values.astype(np.float64)
        assert np.array_equal((wide + sign * gap * 0.999).astype(values.dtype), values)
        assert (np.abs((wide + sign * gap * 1.001).astype(values.dtype).astype(np.float64) - wide) > 0).all()


def stopping(run: Path) -> Explanation:
    """A token whose gradient dies away: it freezes as soon as its attempts fall under half a gap."""

    def make(weight: nn.Parameter) -> torch.optim.Optimizer:
        return torch.optim.SGD([weight], lr=0.1)

    stepped = train(make, {"class": "SGD"}, dtype=torch.bfloat16)
    weight = stepped.rows[0][WEIGHTS].clone()
    rows = [{WEIGHTS: weight.clone(), GRADIENT: torch.full_like(weight, torch.nan)}]
    for count, rate in enumerate(stepped.rates[1:]):
        gradient = torch.full_like(weight, 2.0 ** (3 - count))
        weight = (weight.double() - rate * gradient.double()).to(torch.bfloat16)
        rows.append({WEIGHTS: weight.clone(), GRADIENT: gradient})
    return explain(Stepped(rows, stepped.rates, stepped.settings).record(run), TOKEN)


def test_a_token_stops_where_its_attempts_fall_under_half_a_gap(tmp_path: Path) -> None:
    found = stopping(tmp_path / "run")
    assert found.last_moved is not None
    assert 2 < found.last_moved < STEPS
    # Nothing but one rounding lies between attempted and realised here.
    assert found.stuck_from == found.last_moved + 1
    assert found.margin == found.reach[found.last_moved :].max() < 1
    assert (found.stagnant[found.last_moved :] == 1).all()
    assert np.array_equal(found.stagnant < 1, found.reach >= 1)
    assert np.array_equal((np.abs(found.attempted) < found.half_gap), found.realised == 0)


def test_gaps_are_left_out_and_steps_without_a_gradient_ask_for_nothing(tmp_path: Path) -> None:
    stepped = adam(torch.optim.AdamW)
    whole = explain(stepped.record(tmp_path / "whole"), TOKEN)
    idle = {**stepped.rows[5], GRADIENT: torch.full_like(stepped.rows[5][GRADIENT], torch.nan)}
    rows = [*stepped.rows[:6], idle, *stepped.rows[6:]]
    rates = [*stepped.rates[:6], 0.01, *stepped.rates[6:]]
    steps = [*range(11), *range(12, STEPS + 3)][: len(rows)]
    found = explain(Stepped(rows, rates, stepped.settings).record(tmp_path / "run", steps), TOKEN)
    assert 12 not in found.steps.tolist()
    assert not found.attempted[5].any()
    assert np.allclose(found.attempted[6:10], whole.attempted[5:9])


@pytest.mark.parametrize("name", ["grad", "exp_avg", "exp_avg_sq"])
def test_what_is_missing_is_said_with_the_line_that_records_it(tmp_path: Path, name: str) -> None:
    run = adamw().without(name).record(tmp_path / "run")
    with pytest.raises(AnalysisError, match=rf"no embeddings\.{name}, .*what=\[.*--record weights,grad"):
        explain(run, TOKEN)
    with pytest.raises(AnalysisError, match="called nothing"):
        explain(run, TOKEN, array="nothing")


def test_the_command_tells_the_story_and_draws_it(tmp_path: Path) -> None:
    stopping(tmp_path / "run")
    run, story = str(tmp_path / "run"), tmp_path / "story.png"
    done = CliRunner().invoke(command, ["explain", run, "--token", "3", "-o", str(story)])
    assert done.exit_code == 0, done.output
    assert "It last moved at step" in done.output
    assert "it cannot move: no attempt reaches half the gap to the next bfloat16" in done.output
    assert len(done.output.splitlines()) < 24
    assert story.read_bytes().startswith(b"\x89PNG")
    done = CliRunner().invoke(command, ["explain", run, "--token", "3", "--step", "4"])
    assert done.exit_code == 0, done.output
    assert "at step 4" in done.output
    done = CliRunner().invoke(command, ["explain", run, "--token", "3", "--json"])
    assert len(json.loads(done.output)["reach"]) == STEPS
    unknown = CliRunner().invoke(command, ["explain", run, "--token", "nosuch"])
    assert "'--token'" in unknown.output
    for wrong in (["--token", "99"], ["--token", "3", "--step", "999"], ["--token", "3", "-o", "story.txt"]):
        done = CliRunner().invoke(command, ["explain", run, *wrong])
        assert done.exit_code == 2, (wrong, done.output)


def test_a_token_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        explain(adamw().record(tmp_path / "run"), 99)


def test_what_the_run_does_not_say_of_its_optimizer_is_given_as_the_error_says(tmp_path: Path) -> None:
    stepped = adamw(decay=0.01)
    says = str(stepped.record(tmp_path / "says"))
    silent = str(Stepped(stepped.rows, stepped.rates, {}).record(tmp_path / "silent"))
    refused = CliRunner().invoke(command, ["explain", silent, "--token", "3"])
    assert refused.exit_code == 2
    advice = re.search(r"(--set \S+ --set \S+),", " ".join(refused.output.split()))
    assert advice is not None, refused.output
    told = [
        CliRunner().invoke(command, ["explain", run, "--token", "3", "--json", *more])
        for run, more in ((says, []), (silent, advice[1].split()))
    ]
    assert told[0].exit_code == told[1].exit_code == 0, told[1].output
    found = [{**json.loads(of.stdout), "run_path": "", "run": ""} for of in told]
    assert found[0] == found[1]
