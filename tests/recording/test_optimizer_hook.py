"""A hook that captures after every optimizer step, in a loop that knows nothing of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embevo import Recorder, open_run
from embevo.recording.adapters.optimizer_hook import capture_every_step


def train(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: int) -> list[Any]:
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
