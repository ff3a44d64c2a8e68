"""A matrix that an optimizer of torch's steps, as what a recorder would take of it, and runs made of that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from embevo import Recorder

WEIGHTS, GRADIENT = "embeddings", "embeddings.grad"
TOKENS, DIM, STEPS = 12, 8, 24
MOMENTS = {"AdamW": ("exp_avg", "exp_avg_sq"), "Adam": ("exp_avg", "exp_avg_sq"), "SGD": ("momentum_buffer",)}
MakeOptimizer = Callable[[nn.Parameter], Optimizer]


@dataclass(frozen=True)
class Stepped:
    """A training.

    Attributes:
        rows: arrays by name, one mapping a step, from step 0; what does not exist yet is NaN.
        rates: learning rate of each row; NaN of the first.
        settings: of the optimizer, as a run says them.
    """

    rows: list[dict[str, Tensor]]
    rates: list[float]
    settings: dict[str, Any]

    def without(self, *names: str) -> "Stepped":
        """Without arrays, by the last part of their names."""
        kept = [
            {name: value for name, value in row.items() if name.rpartition(".")[2] not in names}
            for row in self.rows
        ]
        return replace(self, rows=kept)

    def saying(self, **settings: Any) -> "Stepped":
        """With other settings than were used."""
        return replace(self, settings={**self.settings, **settings})

    def flipped(self, row: int, name: str, place: int, bit: int) -> "Stepped":
        """With one bit of one element flipped."""
        rows = [dict(of) for of in self.rows]
        values = rows[row][name].clone()
        width = 8 * values.element_size()
        words = values.view({2: torch.int16, 4: torch.int32}[values.element_size()]).view(-1)
        words[place] ^= (1 << bit) - ((1 << width) if bit == width - 1 else 0)
        rows[row][name] = values
        return replace(self, rows=rows)

    def record(self, run: Path, steps: Sequence[int] | None = None) -> Path:
        """Record it; ``steps`` are the global steps of the rows."""
        held = {name: value.clone() for name, value in self.rows[0].items()}
        said = {"optimizer": {WEIGHTS: self.settings}} if self.settings else {}
        with Recorder(run, dict(held), attributes=said, store="zarr", block_steps=10) as recorder:
            for place, row in enumerate(self.rows):
                for name, value in row.items():
                    held[name].copy_(value)
                step = place if steps is None else steps[place]
                recorder.capture(step, lr=self.rates[place])
        return run


def train(
    make: MakeOptimizer,
    settings: dict[str, Any],
    *,
    dtype: torch.dtype = torch.float32,
    steps: int = STEPS,
    after_step: Callable[[dict[str, Any]], None] | None = None,
    clipped_after_recording: float | None = None,
) -> Stepped:
    """Train a matrix on gradients drawn at random, by a learning rate that falls.

    Args:
        make: the optimizer of the parameter.
        settings: what a run says of it.
        dtype: of the matrix.
        steps: how many.
        after_step: is given the optimizer's state of the parameter after every step.
        clipped_after_recording: clip the gradient to this norm, and record it as it was before.
    """
    drawn = torch.Generator().manual_seed(7)
    weight = nn.Parameter(torch.randn(TOKENS, DIM, generator=drawn).to(dtype))
    optimizer = make(weight)
    moments = MOMENTS[settings["class"]]
    nothing = torch.full_like(weight.detach(), torch.nan)
    first = {WEIGHTS: weight.detach().clone(), GRADIENT: nothing}
    rows = [first | {f"{WEIGHTS}.{name}": nothing for name in moments}]
    rates = [float("nan")]
    for step in range(steps):
        rate = 0.01 * (1 - step / (steps + 3))
        for group in optimizer.param_groups:
            group["lr"] = rate
        gradient = torch.randn(TOKENS, DIM, generator=drawn).to(dtype)
        weight.grad = gradient.clone()
        if clipped_after_recording is not None:
            nn.utils.clip_grad_norm_([weight], clipped_after_recording)
        optimizer.step()
        state = optimizer.state[weight]
        if after_step is not None:
            after_step(state)
        row = {WEIGHTS: weight.detach().clone(), GRADIENT: gradient}
        rows.append(row | {f"{WEIGHTS}.{name}": state[name].clone() for name in moments if name in state})
        rates.append(rate)
    return Stepped(rows, rates, settings)


def adamw(*, decay: float = 0.1, implementation: str = "plain", **more: Any) -> Stepped:
    """A matrix that AdamW steps."""

    def make(weight: nn.Parameter) -> Optimizer:
        how = {"fused": implementation == "fused", "foreach": implementation == "foreach"}
        return torch.optim.AdamW([weight], lr=0.1, weight_decay=decay, **how)

    said = {"class": "AdamW", "implementation": implementation, "weight_decay": decay, "betas": [0.9, 0.999]}
    return train(make, said, **more)
