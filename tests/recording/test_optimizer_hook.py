"""A hook that captures after every optimizer step, in a loop that knows nothing of it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embevo import Recorder, open_run
from embevo.errors import ArgumentError, RecordingWarning
from embevo.recording.adapters.optimizer_hook import capture_every_step


def train(optimizer: Any, weight: torch.nn.Parameter, steps: int) -> list[Any]:
    """The matrix after each step."""
    states = []
    for step in range(steps):
        loss = (weight * (step + 1)).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        states.append(weight.detach().clone().numpy())
    return states


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, fused=True),
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
    ],
)
def test_every_step_is_captured_as_the_optimizer_left_it(tmp_path: Path, make: Any) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    start = weight.detach().clone().numpy()
    optimizer = make([weight])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4) as recorder:
        handle = capture_every_step(optimizer, recorder, first_step=100)
        states = train(optimizer, weight, 3)
        schedule.step()
        states += train(optimizer, weight, 4)
        handle.remove()
        train(optimizer, weight, 2)
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(100, 108))
    assert np.array_equal(run["embeddings"][:], np.stack([start, *states]))
    assert run["learning_rate"][1:].tolist() == [1e-3] * 3 + [5e-4] * 4


def test_a_step_that_a_scaler_skips_is_not_captured(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    optimizer = torch.optim.AdamW([weight], lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    with Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4) as recorder:
        capture_every_step(optimizer, recorder)
        states = [weight.detach().clone().numpy()]
        for factor in (1.0, float("inf"), 2.0):
            scaler.scale((weight * factor).square().sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            if factor < 10:
                states.append(weight.detach().clone().numpy())
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 2]
    assert np.array_equal(run["embeddings"][:], np.stack(states))


# Wrappers


class Lookahead(torch.optim.Optimizer):
    """The usual shape: no ``super().__init__()``; every second step it moves the weights once more."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base = base
        self.param_groups = base.param_groups
        self.defaults = base.defaults
        self.state = base.state
        self.count = 0

    def step(self, closure: Any = None) -> Any:
        result = self.base.step(closure)
        self.count += 1
        if self.count % 2 == 0:
            with torch.no_grad():
                for group in self.param_groups:
                    for weight in group["params"]:
                        weight.mul_(0.5)
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.base.zero_grad(set_to_none)


class Initialised(torch.optim.Optimizer):
    """One that has hooks of its own, and whose inner optimizer steps only every second time."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        super().__init__(base.param_groups, base.defaults)
        self.base = base
        self.count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        return self.base.step(closure) if self.count % 2 == 0 else None


class Duck:
    """No torch optimizer at all."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.inner = {"one": [base]}
        self.param_groups = base.param_groups
        self._base = base

    def step(self) -> None:
        self._base.step()

    def zero_grad(self) -> None:
        self._base.zero_grad()


class ByHand:
    """It holds no other optimizer."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weights = [weight]
        self.lr = 1e-3

    def step(self) -> None:
        with torch.no_grad():
            for weight in self.weights:
                weight.sub_(1e-3 * weight.grad)

    def zero_grad(self) -> None:
        self.weights[0].grad = None


class Slots:
    """Whose step cannot be replaced."""

    __slots__ = ()

    def step(self) -> None:
        pass


WRAPPERS: dict[str, Any] = {
    "Lookahead": lambda weight: Lookahead(torch.optim.SGD([weight], lr=1e-3)),
    "a Lookahead of a Lookahead": lambda weight: Lookahead(Lookahead(torch.optim.SGD([weight], lr=1e-3))),
    "a duck": lambda weight: Duck(torch.optim.SGD([weight], lr=1e-3)),
    "a duck of a Lookahead": lambda weight: Duck(Lookahead(torch.optim.SGD([weight], lr=1e-3))),
    "none inside": ByHand,
}


@pytest.mark.filterwarnings("ignore:ByHand says no learning rate")
@pytest.mark.parametrize("wrapper", list(WRAPPERS))
def test_of_a_wrapper_the_state_is_captured_that_its_step_leaves(tmp_path: Path, wrapper: str) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    start = weight.detach().clone().numpy()
    optimizer = WRAPPERS[wrapper](weight)
    with Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4) as recorder:
        handle = capture_every_step(optimizer, recorder)
        states = train(optimizer, weight, 5)
        handle.remove()
        handle.remove()
        train(optimizer, weight, 2)
    assert "step" not in vars(optimizer)
    run = open_run(tmp_path / "run")
    assert np.array_equal(run["embeddings"][:], np.stack([start, *states]))
    rates = [] if wrapper == "none inside" else [1e-3] * 5
    assert run["learning_rate"][1:].tolist() == rates or not rates


def test_only_steps_of_the_optimizer_inside_count(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    optimizer = Initialised(torch.optim.SGD([weight], lr=1e-3))
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        capture_every_step(optimizer, recorder)
        states = train(optimizer, weight, 6)
        train(optimizer.base, weight, 1)
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(run["embeddings"][1:4], np.stack(states[1::2]))


def test_a_scheduler_may_be_made_for_a_wrapper_before_and_after(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    optimizer = Lookahead(torch.optim.SGD([weight], lr=1.0))
    before = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        capture_every_step(optimizer, recorder)
        after = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in range(3):
            train(optimizer, weight, 1)
            before.step()
            after.step()
    assert open_run(tmp_path / "run")["learning_rate"][1:].tolist() == [1.0, 0.25, 0.0625]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("inner", [False, True], ids=["what prepare() gave", "the optimizer inside"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_accelerate(tmp_path: Path, inner: bool, accumulate: int) -> None:
    accelerator = pytest.importorskip("accelerate").Accelerator(
        cpu=True, gradient_accumulation_steps=accumulate
    )
    model = torch.nn.Embedding(6, 5)
    plain = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model, optimizer = accelerator.prepare(model, plain)
    states = []
    with Recorder(tmp_path / "run", {"embeddings": model.weight}) as recorder:
        capture_every_step(plain if inner else optimizer, recorder)
        for _ in range(6):
            with accelerator.accumulate(model):
                accelerator.backward(model(torch.arange(6)).square().mean())
                optimizer.step()
                optimizer.zero_grad()
            states.append(model.weight.detach().clone().numpy())
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(6 // accumulate + 1))
    assert np.array_equal(run["embeddings"][1:], np.stack(states[accumulate - 1 :: accumulate]))


def test_a_step_with_a_closure_is_one_step(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    optimizer = torch.optim.LBFGS([weight], lr=0.5, max_iter=3)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        capture_every_step(optimizer, recorder)
        for _ in range(3):
            optimizer.step(closure)
    assert open_run(tmp_path / "run")["learning_rate"][1:].tolist() == [0.5] * 3


# Learning rates


@pytest.mark.parametrize("handed_over", [lambda w: w, lambda w: w.detach()], ids=["parameter", "detached"])
def test_the_rate_is_that_of_the_groups_of_what_is_recorded(tmp_path: Path, handed_over: Any) -> None:
    others = [torch.nn.Parameter(torch.randn(3)) for _ in range(3)]
    weight = torch.nn.Parameter(torch.randn(6, 5))
    optimizer = torch.optim.SGD(
        [{"params": others[:2], "lr": 1e-4}, {"params": [others[2], weight], "lr": 0.3}]
    )
    with Recorder(tmp_path / "run", {"embeddings": handed_over(weight)}) as recorder:
        capture_every_step(optimizer, recorder)
        train(optimizer, weight, 2)
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.randn(3))], "lr": 7.0})
        optimizer.load_state_dict(optimizer.state_dict())
        train(optimizer, weight, 2)
    assert open_run(tmp_path / "run")["learning_rate"][1:].tolist() == [0.3] * 4


@pytest.mark.parametrize("handed_over", [lambda w: w, lambda w: w.detach()], ids=["parameter", "detached"])
def test_steps_of_another_optimizer_are_said(tmp_path: Path, handed_over: Any) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    first, second = (torch.optim.SGD([weight], lr=0.1) for _ in range(2))
    with Recorder(tmp_path / "run", {"embeddings": handed_over(weight)}) as recorder:
        handle = capture_every_step(first, recorder)
        train(first, weight, 2)
        with pytest.warns(RecordingWarning, match="SGD that is not followed has stepped"):
            train(second, weight, 1)
        handle.remove()
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2]


@pytest.mark.parametrize("rate", [None, "auto", [1e-3, 1e-4], object(), "missing", "no groups"])
def test_no_training_dies_of_a_learning_rate_that_cannot_be_read(tmp_path: Path, rate: Any) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))

    class Own(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> None:
            with torch.no_grad():
                weight.add_(1)

    optimizer = Own([weight], {"lr": rate})
    if rate == "missing":
        del optimizer.param_groups[0]["lr"]
    if rate == "no groups":
        optimizer.param_groups = []
    with (
        Recorder(tmp_path / "run", {"embeddings": weight}) as recorder,
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        capture_every_step(optimizer, recorder)
        for _ in range(3):
            optimizer.step()
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 2, 3]
    assert np.isnan(run["learning_rate"][:]).all()
    assert len([found for found in said if issubclass(found.category, RecordingWarning)]) == 1


@pytest.mark.parametrize("optimizer", [None, 3, "adam", torch.nn.Linear(2, 2), Slots()])
def test_what_is_no_optimizer_is_refused_with_what_to_pass(tmp_path: Path, optimizer: Any) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5))
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        with pytest.raises(ArgumentError, match=r"pass the torch optimizer .*recorder\.capture\(step\)"):
            capture_every_step(optimizer, recorder)
        with pytest.raises(ArgumentError, match="recorder is None"):
            capture_every_step(torch.optim.SGD([weight]), None)
        with pytest.raises(ArgumentError, match="step -1 is negative"):
            capture_every_step(torch.optim.SGD([weight]), recorder, first_step=-1)
        torch.optim.SGD([weight]).step()
        recorder.capture(0)
