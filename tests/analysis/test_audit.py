"""An audit explains every bit of what an optimizer has done, and names what does not follow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from embevo_cli.main import embevo as command
from torch import nn

import embevo
from embevo import AnalysisError, ArgumentError
from embevo.analysis import Audit, audit
from support.stepped import GRADIENT, STEPS, WEIGHTS, MakeOptimizer, Stepped, adamw, train

IMPLEMENTATIONS = ("fused", "foreach", "plain")
OPTIMIZERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.1, "betas": (0.8, 0.99), "eps": 1e-6}),
    "Adam": (torch.optim.Adam, {"weight_decay": 0.1, "maximize": True}),
    "SGD": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
}


def maker(name: str, implementation: str) -> tuple[MakeOptimizer, dict[str, Any]]:
    kind, options = OPTIMIZERS[name]

    def make(weight: nn.Parameter) -> torch.optim.Optimizer:
        how = {"fused": implementation == "fused", "foreach": implementation == "foreach"}
        return kind([weight], lr=0.1, **options, **how)

    said = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return make, {"class": name, "implementation": implementation, **said}


@pytest.mark.parametrize("moments", ["recorded", "carried on"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_bit_of_an_optimizers_steps_is_explained(
    tmp_path: Path, name: str, implementation: str, dtype: torch.dtype, moments: str
) -> None:
    if (name, implementation, dtype) == ("SGD", "fused", torch.bfloat16):
        pytest.skip("torch's own does not give the same bits twice: its last elements depend on free memory")
    stepped = train(*maker(name, implementation), dtype=dtype)
    if moments == "carried on":
        stepped = stepped.without("exp_avg", "exp_avg_sq", "momentum_buffer")
    found = audit(stepped.record(tmp_path / "run"))
    assert (found.explained, found.moments) == (True, moments)
    assert found.settings.implementation == implementation
    assert found.steps.tolist() == list(range(1, STEPS + 1))
    assert found.shares.tolist() == [1.0] * STEPS
    assert found.implementations[implementation].steps == STEPS


def finding_of(stepped: Stepped, run: Path, **options: Any) -> tuple[Audit, str]:
    found = audit(stepped.record(run, **options))
    assert not found.explained
    assert found.finding is not None
    return found, found.finding.kind


@pytest.mark.parametrize("moments", ["recorded", "carried on"])
@pytest.mark.parametrize(
    ("name", "bit"), [(GRADIENT, 22), (GRADIENT, 31), (WEIGHTS, 3), (f"{WEIGHTS}.exp_avg", 12)]
)
def test_one_flipped_bit_is_found_and_named(tmp_path: Path, name: str, bit: int, moments: str) -> None:
    place, row = 3 * 8 + 5, 11
    stepped = adamw().flipped(row, name, place, bit)
    if moments == "carried on":
        if name.endswith("exp_avg"):
            pytest.skip("it is not recorded then")
        stepped = stepped.without("exp_avg", "exp_avg_sq")
    found, kind = finding_of(stepped, tmp_path / "run")
    assert kind == "flipped bit"
    assert found.finding is not None
    assert found.finding.sentence.startswith(
        f"Bit {bit} of {name} is flipped at step {row}, token 3, dim 5 ("
    )
    assert found.first is not None
    assert (found.first.step, dict(found.first.place)["token"], dict(found.first.place)["dim"]) == (row, 3, 5)


def test_the_first_difference_is_shown_with_its_bits_and_ulps(tmp_path: Path) -> None:
    found, _ = finding_of(adamw().flipped(7, WEIGHTS, 8, 2), tmp_path / "run")
    assert found.first is not None
    recorded, computed = (
        int(text.split("0x")[1][:8], 16) for text in (found.first.recorded, found.first.computed)
    )
    assert recorded ^ computed == 1 << 2
    assert found.first.ulps == 4
    unequal = found.steps[found.shares < 1].tolist()
    assert unequal == [7, 8]
    # One of the elements of W, of exp_avg and of exp_avg_sq together.
    assert found.shares[6] == 1 - 1 / (3 * 12 * 8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("moments", ["recorded", "carried on"])
def test_moments_kept_in_another_dtype_are_named(tmp_path: Path, dtype: str, moments: str) -> None:
    def rounded(state: dict[str, Any]) -> None:
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = state[name].to(getattr(torch, dtype)).float()

    stepped = adamw(after_step=rounded)
    if moments == "carried on":
        stepped = stepped.without("exp_avg", "exp_avg_sq")
    found, kind = finding_of(stepped, tmp_path / "run")
    assert kind == "moments"
    assert found.finding is not None
    assert (dtype in found.finding.sentence, found.finding.equal) == (True, 1.0)


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_a_gradient_recorded_before_clipping_is_named(tmp_path: Path, name: str) -> None:
    stepped = train(*maker(name, "plain"), clipped_after_recording=1.0)
    found, kind = finding_of(stepped, tmp_path / "run")
    assert kind == "clipping"
    assert found.finding is not None
    assert found.finding.equal > 0.99


@pytest.mark.parametrize("shift", [-1, 1])
@pytest.mark.parametrize("moments", ["recorded", "carried on"])
def test_a_learning_rate_off_by_one_step_is_named(tmp_path: Path, shift: int, moments: str) -> None:
    stepped = adamw()
    rates = stepped.rates
    moved = [rates[0], *rates[2:], rates[-1] * 0.9] if shift < 0 else [rates[0], rates[1] * 1.1, *rates[1:-1]]
    if moments == "carried on":
        stepped = stepped.without("exp_avg", "exp_avg_sq")
    found, kind = finding_of(Stepped(stepped.rows, moved, stepped.settings), tmp_path / "run")
    assert kind == "learning rate"
    assert found.finding is not None
    assert ("before" if shift < 0 else "after") in found.finding.sentence


@pytest.mark.parametrize(("used", "said"), [(0.0, 0.1), (0.1, 0.0), (0.1, 0.3)])
@pytest.mark.parametrize("moments", ["recorded", "carried on"])
def test_a_weight_decay_that_is_on_or_off_is_named(
    tmp_path: Path, used: float, said: float, moments: str
) -> None:
    stepped = adamw(decay=used).saying(weight_decay=said)
    if moments == "carried on":
        stepped = stepped.without("exp_avg", "exp_avg_sq")
    run = stepped.record(tmp_path / "run")
    found = audit(run)
    assert found.finding is not None
    assert (found.finding.kind, found.finding.equal) == ("weight decay", 1.0)
    assert audit(run, optimizer={"weight_decay": used}).explained


def test_decay_in_the_gradient_is_not_decay_of_the_weights(tmp_path: Path) -> None:
    found, kind = finding_of(adamw().saying(**{"class": "Adam"}), tmp_path / "run")
    assert kind == "class"
    assert found.finding is not None
    assert "was AdamW, and not Adam" in found.finding.sentence


def test_adam_that_is_said_to_decouple_its_decay_is_adamw(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.randn(5, 3))
    optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)
    module = nn.Module()
    module.weight = weight
    run, what = tmp_path / "run", ["weight", "weight.grad"]
    with embevo.record(module, optimizer, run, what, parameter="weight"):
        for _ in range(3):
            weight.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit(run, array="weight").explained
    # One of another name is taken for what it is said to be.
    with pytest.raises(AnalysisError, match="--set class=AdamW"):
        audit(run, array="weight", optimizer={"class": "Mine"})


def test_a_step_that_is_missing_is_named(tmp_path: Path) -> None:
    stepped = adamw()
    rows, rates = [*stepped.rows[:9], *stepped.rows[10:]], [*stepped.rates[:9], *stepped.rates[10:]]
    found, kind = finding_of(Stepped(rows, rates, stepped.settings), tmp_path / "run")
    assert kind == "missing step"
    assert found.finding is not None
    assert "missing between step 8 and step 9" in found.finding.sentence
    # Where the step numbers show the gap, nothing is wrong, and that pair of rows is left out.
    steps = [step for step in range(STEPS + 1) if step != 9]
    whole = audit(Stepped(rows, rates, stepped.settings).record(tmp_path / "gap", steps))
    assert whole.explained
    assert whole.left_out == {"the step before is not recorded": [10]}


def test_without_moments_a_gap_ends_what_can_be_computed(tmp_path: Path) -> None:
    stepped = adamw().without("exp_avg", "exp_avg_sq")
    kept = Stepped(
        [*stepped.rows[:9], *stepped.rows[10:]], [*stepped.rates[:9], *stepped.rates[10:]], stepped.settings
    )
    found = audit(kept.record(tmp_path / "run", [step for step in range(STEPS + 1) if step != 9]))
    assert found.explained
    assert found.steps.tolist() == list(range(1, 9))
    assert list(range(11, STEPS + 1)) in found.left_out.values()


def test_a_step_without_a_gradient_is_passed_over_and_not_counted(tmp_path: Path) -> None:
    stepped = adamw()
    idle = {**stepped.rows[5], GRADIENT: torch.full_like(stepped.rows[5][GRADIENT], torch.nan)}
    rows, rates = [*stepped.rows[:6], idle, *stepped.rows[6:]], [*stepped.rates[:6], 0.01, *stepped.rates[6:]]
    found = audit(Stepped(rows, rates, stepped.settings).record(tmp_path / "run"))
    assert (found.explained, found.unstepped) == (True, (6,))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda of: of.without("grad"), 'what=["embeddings", "embeddings.grad", "embeddings.exp_avg", '),
        (lambda of: Stepped(of.rows, of.rates, {}), "--set class=AdamW"),
        (lambda of: of.saying(**{"class": "Lion"}), "was stepped by Lion"),
        (lambda of: of.saying(rate_is_recorded=False), "another group"),
        (lambda of: Stepped(of.rows, [float("nan")] * 25, of.settings), "no learning rate is recorded"),
    ],
)
def test_what_cannot_be_audited_says_what_is_missing(
    tmp_path: Path, change: Callable[[Stepped], Stepped], says: str
) -> None:
    run = change(adamw()).record(tmp_path / "run")
    with pytest.raises(AnalysisError) as caught:
        audit(run)
    assert says in str(caught.value)
    done = CliRunner().invoke(command, ["audit", str(run)])
    assert done.exit_code == 2
    assert says in done.output


@pytest.mark.parametrize(
    "given",
    [{"nonsense": 1}, {"betas": 3}, {"weight_decay": "x"}, {"weight_decay": 1e99}, {"implementation": "x"}],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    run = adamw().record(tmp_path / "run")
    with pytest.raises(ArgumentError, match=next(iter(given))):
        audit(run, optimizer=given)


def test_the_command_says_it_on_one_screen_and_by_its_exit_code(tmp_path: Path) -> None:
    good = adamw().record(tmp_path / "good")
    bad = adamw().flipped(7, WEIGHTS, 8, 2).record(tmp_path / "bad")
    done = CliRunner().invoke(command, ["audit", str(good)])
    assert done.exit_code == 0, done.output
    assert f"Every bit of steps 1 to {STEPS} is explained." in done.output
    done = CliRunner().invoke(command, ["audit", str(bad)])
    assert done.exit_code == 1, done.output
    assert "Bit 2 of embeddings is flipped at step 7, token 1, dim 0" in done.output
    assert len(done.output.splitlines()) < 24
    done = CliRunner().invoke(command, ["audit", str(bad), "--json"])
    assert json.loads(done.output)["finding"]["kind"] == "flipped bit"
    none = adamw(decay=0.0).saying(weight_decay=0.1).record(tmp_path / "none")
    done = CliRunner().invoke(command, ["audit", str(none), "--set", "weight_decay=0"])
    assert done.exit_code == 0, done.output


def test_record_says_what_the_audit_needs(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, fused=True)
    # What JSON cannot hold is none of the audit's affair, and does not keep a run from being recorded.
    optimizer.param_groups[0].update(clip_at=float("inf"), schedule=lambda step: step, bounds=(0, torch.inf))
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=9)
    what = ["embeddings", "embeddings.grad", "embeddings.exp_avg", "embeddings.exp_avg_sq"]

    def go_on(steps: int) -> None:
        for _ in range(steps):
            loss = nn.functional.cross_entropy(model(torch.randint(10, (8,))), torch.randint(10, (8,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()

    # The optimizer has made steps before the recording begins.
    go_on(3)
    with embevo.record(model, optimizer, tmp_path / "run", what, parameter="0.weight"):
        go_on(12)
    found = audit(tmp_path / "run")
    assert found.explained
    assert (found.said, found.settings.weight_decay, found.settings.steps_done) == ("fused", 0.1, 3)
    assert found.steps.tolist() == list(range(1, 13))
    # Moments of an optimizer that has stepped before cannot be carried on.
    with embevo.record(model, optimizer, tmp_path / "less", what[:2], parameter="0.weight"):
        go_on(2)
    with pytest.raises(AnalysisError, match="none can be carried on"):
        audit(tmp_path / "less")


def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embevo.analysis.auditing import recorded

    run = adamw().flipped(11, GRADIENT, 20, 22).record(tmp_path / "run")
    whole = audit(run)
    monkeypatch.setattr(recorded, "_BLOCK_BYTES", 1)
    rowwise = audit(run)
    assert np.array_equal(whole.shares, rowwise.shares)
    assert whole.to_json() == rowwise.to_json()
