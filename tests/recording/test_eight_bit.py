"""Optimizers that keep their moments in eight bits: recorded as they keep them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embevo import Recorder, open_run, optimizer_state
from embevo.errors import StaleTensorError
from embevo.recording.record import record


class EightBit(torch.optim.Optimizer):
    """Adam whose moments are bytes, blocks of 256 with a scale each, and a table of what a byte means.

    The names, dtypes and shapes are those of the 8-bit optimizers of bitsandbytes: ``state1`` and ``state2``,
    ``absmax1`` and ``absmax2``, ``qmap1`` and ``qmap2``.
    """

    def __init__(self, parameters: Any, lr: float = 1e-2) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8})
        self.tables = {1: torch.linspace(-1, 1, 256), 2: torch.linspace(0, 1, 256)}

    def begin(self, held: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = {"step": 0}
        for moment, table in self.tables.items():
            state[f"state{moment}"] = torch.zeros_like(held, dtype=torch.uint8)
            state[f"qmap{moment}"] = table.clone()
            state[f"absmax{moment}"] = torch.zeros(-(-held.numel() // 256))
        return state

    def load(self, state: dict[str, Any], moment: int, like: Tensor) -> Tensor:
        values = state[f"qmap{moment}"][state[f"state{moment}"].long().flatten()]
        scales = state[f"absmax{moment}"].repeat_interleave(256)[: values.numel()]
        return (values * scales).view_as(like)

    def keep(self, state: dict[str, Any], moment: int, value: Tensor) -> None:
        flat = value.flatten()
        scales = torch.stack([block.abs().max() for block in flat.split(256)])
        table = state[f"qmap{moment}"]
        unit = flat / scales.repeat_interleave(256)[: flat.numel()].clamp_min(1e-30)
        nearest = torch.searchsorted((table[1:] + table[:-1]) / 2, unit)
        state[f"state{moment}"].copy_(nearest.to(torch.uint8).view_as(value))
        state[f"absmax{moment}"].copy_(scales)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        del closure
        for group in self.param_groups:
            first, second = group["betas"]
            for held in group["params"]:
                if held.grad is None:
                    continue
                if not self.state[held]:
                    self.state[held].update(self.begin(held))
                state = self.state[held]
                state["step"] += 1
                mean = self.load(state, 1, held).mul_(first).add_(held.grad, alpha=1 - first)
                square = self.load(state, 2, held).mul_(second)
                square.addcmul_(held.grad, held.grad, value=1 - second)
                self.keep(state, 1, mean)
                self.keep(state, 2, square)
                held.sub_(group["lr"] * mean / (square.sqrt() + group["eps"]))


@pytest.mark.parametrize("begun", [False, True], ids=["before the first step", "after it"])
def test_moments_in_eight_bits_are_recorded_to_the_bit(tmp_path: Path, begun: bool) -> None:
    """Bytes, the scale of each block of them, and the table: what they mean is worked out from the run."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(40, 16), nn.Linear(16, 40))
    optimizer = EightBit(model.parameters())
    weight, kept, means = model[0].weight, [], []
    keys = [f"{key}{moment}" for key in ("state", "absmax", "qmap") for moment in (1, 2)]
    what = ["embeddings", *(f"embeddings.{key}" for key in keys)]

    def step() -> None:
        optimizer.zero_grad()
        tokens = torch.randint(40, (32,))
        nn.functional.cross_entropy(model(tokens), tokens).backward()
        optimizer.step()

    if begun:
        step()
    with record(model, optimizer, tmp_path / "run", what, parameter="0.weight"):
        for _ in range(4):
            step()
            kept.append({key: optimizer.state[weight][key].clone() for key in keys})
            means.append(optimizer.load(optimizer.state[weight], 1, weight).numpy())
    run = open_run(tmp_path / "run")
    for key in keys:
        assert np.isnan(run[f"embeddings.{key}"][0]).all() != begun
        wanted = np.stack([states[key].numpy() for states in kept])
        np.testing.assert_array_equal(run[f"embeddings.{key}"][1:], wanted, key)
    assert np.stack([states["state1"].numpy() for states in kept]).max() > 128
    positions = run["embeddings.state1"][1:].reshape(4, -1).astype(int)
    values = np.take_along_axis(run["embeddings.qmap1"][1:], positions, 1)
    scales = run["embeddings.absmax1"][1:].repeat(256, axis=1)[:, : values.shape[1]]
    np.testing.assert_array_equal((values * scales).reshape(4, *weight.shape), np.stack(means))


class Hidden(EightBit):
    """What it needs for a step lies in an object of its own, so that no copy of it can be tried."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.manager = self

    def begin(self, held: Tensor) -> dict[str, Any]:
        return EightBit.begin(self.manager, held)


def test_what_cannot_be_found_out_before_the_first_step_is_recorded_after_it(tmp_path: Path) -> None:
    model = nn.Embedding(40, 16)
    optimizer = Hidden(model.parameters())
    what = ["embeddings", "embeddings.state1"]
    with pytest.raises(StaleTensorError, match=r"first step. Begin to record after .* \(first_step=1\)"):
        record(model, optimizer, tmp_path / "run", what)
    assert not optimizer.state
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    with record(model, optimizer, tmp_path / "run", what, first_step=1):
        optimizer.step()
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [1, 2]
    wanted = optimizer.state[model.weight]["state1"].numpy()
    np.testing.assert_array_equal(run["embeddings.state1"][1], wanted)


def test_trying_an_optimizer_leaves_it_and_what_it_holds_as_they_were(tmp_path: Path) -> None:
    """Also one that is wrapped around another, whose step would train."""

    class Around(EightBit):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            super().__init__([held for group in inner.param_groups for held in group["params"]])
            self.inner, self.counts = inner, {"steps": 0}

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            self.counts["steps"] += 1
            self.inner.step()
            super().step(closure)

    model = nn.Embedding(40, 16)
    inner = torch.optim.AdamW(model.parameters())
    model.weight.grad = torch.ones_like(model.weight)
    before = model.weight.detach().clone()
    optimizer = Around(inner)
    state = optimizer_state(optimizer, model.weight, "state1")
    with pytest.raises(StaleTensorError, match="first step"):
        Recorder(tmp_path / "run", {"state": state})
    assert torch.equal(model.weight, before)
    assert not inner.state
    assert not optimizer.state
    assert optimizer.counts == {"steps": 0}
