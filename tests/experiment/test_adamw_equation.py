"""Recorded weights, gradients and moments are one optimizer's: each step follows from the one before."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from embevo import open_run
from embevo.experiment import loop as loop_module
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.optimizer import adamw
from embevo.experiment.record import run_experiment

BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
NAMES = {"weight": "embeddings", "exp_avg": "embeddings.exp_avg", "exp_avg_sq": "embeddings.exp_avg_sq"}
Implementation = Literal["experiment", "fused", "foreach", "plain"]


def optimizer_of(
    module: nn.Module, learning_rate: float, weight_decay: float, *, kind: Implementation
) -> torch.optim.AdamW:
    """The experiment's optimizer, or its numbers with another implementation."""
    made = adamw(module, learning_rate, weight_decay)
    if kind == "experiment":
        return made
    groups: Any = [
        {"params": group["params"], "weight_decay": group["weight_decay"]} for group in made.param_groups
    ]
    return torch.optim.AdamW(
        groups,
        lr=learning_rate,
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=kind == "fused",
        foreach=kind == "foreach",
    )


def record(config: ExperimentConfig, run: Path) -> list[dict[str, Tensor]]:
    """Record it: what each step's file holds, and the learning rate of the update that led there."""
    run_experiment(dataclasses.replace(config, record="weights,grad,exp_avg,exp_avg_sq"), run)
    rates = open_run(run)["learning_rate"][:]
    return [
        load_file(run / "snapshots" / f"step_{step:07d}.safetensors")
        | {"lr": torch.tensor(rates[step], dtype=torch.float64)}
        for step in range(config.steps + 1)
    ]


def follows(
    before: dict[str, Tensor], after: dict[str, Tensor], step: int, decay: float, kind: Implementation
) -> bool:
    """Whether the optimizer makes one state out of the other with the gradient in between, to the bit."""
    holder = nn.Module()
    holder.weight = nn.Parameter(before["embeddings"].clone())
    optimizer = optimizer_of(holder, float(after["lr"]), decay, kind=kind)
    if step > 1:
        optimizer.state[holder.weight] = {
            "step": torch.tensor(float(step - 1)),
            "exp_avg": before[NAMES["exp_avg"]].clone(),
            "exp_avg_sq": before[NAMES["exp_avg_sq"]].clone(),
        }
    holder.weight.grad = after["embeddings.grad"].clone()
    optimizer.step()
    made = {"weight": holder.weight.detach(), **optimizer.state[holder.weight]}
    bits = BITS[holder.weight.dtype]
    return all(torch.equal(made[key].view(bits), after[name].view(bits)) for key, name in NAMES.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["experiment", "fused", "foreach", "plain"])
def test_every_step_follows_from_the_one_before_to_the_bit(
    small_config: ExperimentConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: Literal["float32", "bfloat16"],
    kind: Implementation,
) -> None:
    monkeypatch.setattr(loop_module, "adamw", partial(optimizer_of, kind=kind))
    config = dataclasses.replace(small_config, dtype=dtype)
    rows = record(config, tmp_path / "run")
    decay = config.weight_decay
    # There is no gradient and no moment before the first update.
    assert all(rows[0][name].isnan().all() for name in ("embeddings.grad", *list(NAMES.values())[1:]))
    for step in range(1, len(rows)):
        assert follows(rows[step - 1], rows[step], step, decay, kind)
        gradient = rows[step]["embeddings.grad"]
        bits = gradient.view(BITS[gradient.dtype])
        largest = int(gradient.float().abs().argmax())
        width = bits.element_size() * 8
        mantissa = 23 if dtype == "float32" else 7
        for bit in (mantissa - 1, mantissa, width - 1):
            flipped = bits.clone()
            flipped.view(-1)[largest] ^= (1 << bit) - (1 << width if bit == width - 1 else 0)
            changed = rows[step] | {"embeddings.grad": flipped.view(gradient.dtype)}
            assert not follows(rows[step - 1], changed, step, decay, kind)
