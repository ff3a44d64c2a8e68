"""A training in several processes that records itself, and keeps what every tensor was; torchrun runs it.

``python -m torch.distributed.run ... sharded.py FOLDER CASE ...`` makes, for each case, the run FOLDER/CASE,
and FOLDER/CASE.npz with what ``full_tensor()`` gave when each step was captured.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import _get_default_store
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import embevo
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths

STEPS = 7
WHAT = ("embeddings", "embeddings.grad", "embeddings.exp_avg")


class Model(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(tokens, width)
        self.head = nn.Linear(width, 3)

    def get_input_embeddings(self) -> nn.Module:
        return self.wte

    def forward(self, ids: Tensor) -> Tensor:
        hidden: Tensor = self.head(self.wte(ids))
        return hidden


@dataclass(frozen=True)
class Case:
    """Sizes of the embedding, how it is divided, and how many neighbours get the same batch."""

    tokens: int
    width: int
    divide: Callable[[nn.Module], nn.Module]
    dtype: torch.dtype = torch.float32
    alike: int = 1


def _fsdp(model: nn.Module) -> nn.Module:
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return model


def _rows(model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return parallelize_module(model, mesh, {"wte": RowwiseParallel(input_layouts=Replicate())})


def _columns(model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return parallelize_module(model, mesh, {"wte": ColwiseParallel(output_layouts=Replicate())})


def _hybrid(model: nn.Module) -> nn.Module:
    shape = (2, dist.get_world_size() // 2)
    fully_shard(model, mesh=init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")))
    return model


def _both(style: Any) -> Callable[[nn.Module], nn.Module]:
    def divide(model: nn.Module) -> nn.Module:
        mesh = init_device_mesh("cpu", (2, dist.get_world_size() // 2), mesh_dim_names=("dp", "tp"))
        parallelize_module(model, mesh["tp"], {"wte": style()})
        fully_shard(model, mesh=mesh["dp"])
        return model

    return divide


def _replicated(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


CASES = {
    "fsdp": Case(101, 8, _fsdp),
    "fsdp-bfloat16": Case(101, 8, _fsdp, torch.bfloat16),
    "empty": Case(5, 8, _fsdp),
    "rows": Case(101, 8, _rows, alike=4),
    "columns": Case(21, 10, _columns, alike=4),
    "hybrid": Case(101, 8, _hybrid),
    "rows-and-fsdp": Case(101, 8, _both(lambda: RowwiseParallel(input_layouts=Replicate())), alike=2),
    "columns-and-fsdp": Case(21, 10, _both(lambda: ColwiseParallel(output_layouts=Replicate())), alike=2),
    "replicated": Case(101, 8, _replicated),
}


def batch(step: int, case: Case) -> Tensor:
    return torch.arange(16).mul(step + 3).add(dist.get_rank() // case.alike) % case.tokens


def train(case: Case, run: Path, *, last: int = STEPS, killed: int = -1, **options: Any) -> dict[str, Any]:
    """Record a training up to a step, and kill this process when one was captured; what its tensors were."""
    torch.manual_seed(0)
    model = case.divide(Model(case.tokens, case.width).to(case.dtype))
    weight = next(parameter for name, parameter in model.named_parameters() if name.endswith("wte.weight"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, foreach=False)
    seen: dict[str, list[Tensor]] = {name: [] for name in WHAT}

    def keep(gradient: Tensor | None, moment: Tensor | None) -> None:
        for name, tensor in zip(WHAT, (weight, gradient, moment), strict=True):
            full = tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor
            missing = torch.full(weight.shape, torch.nan)
            seen[name].append(missing if full is None else full.detach().float().clone())

    with embevo.record(model, optimizer, run, WHAT, block_steps=3, **options) as recorder:
        keep(None, None)
        for step in range(1, last):
            model(batch(step, case)).square().mean().backward()
            gradient = weight.grad
            recorder.log(loss=float(step))
            optimizer.step()
            if step == killed:
                os.kill(os.getpid(), signal.SIGKILL)
            keep(gradient, optimizer.state[weight]["exp_avg"])
            optimizer.zero_grad()
    return {name: torch.stack(tensors).numpy() for name, tensors in seen.items()}


# What the second process asks for, and the first does not.
OTHERWISE: dict[str, dict[str, Any]] = {
    "resume": {"resume": True},
    "steps": {"steps": 2},
    "run_dir": {"run_dir": "run_dir of rank 1"},
    "what": {"what": WHAT[:2]},
    "order": {"what": WHAT[::-1]},
    "dtype": {"dtype": torch.bfloat16},
    "scalars": {"scalars": ("accuracy",)},
    "misspelt store": {"store": "zar"},
    "misspelt what": {"what": ("embedings",)},
    "misspelt option": {"blok_steps": 3},
    "when_full": {"when_full": "drop"},
    "tokens": {"tokens": [1, 2]},
    "journal_dir": {"journal_dir": "s3://bucket/rings"},
}


def otherwise(folder: Path) -> None:
    """Make recorders in two processes that ask for different things; what each of them is told is kept."""
    second = dist.get_rank() == 1
    told: dict[str, str] = {}

    def attempt(case: str, *, asks: bool = True, told_as: str = "", **same: Any) -> None:
        given = {**same, **(OTHERWISE.get(case, {}) if second else {})}
        dtype = given.pop("dtype", torch.float32)
        model = _fsdp(Model(101, 8).to(dtype))
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
        run = folder / given.pop("run_dir", case)
        what = given.pop("what", WHAT)
        told[told_as or case] = ""
        recorder = None
        if asks:
            try:
                recorder = embevo.record(model, optimizer, run, what, **given)
            except embevo.EmbevoError as error:
                told[told_as or case] = str(error)
        for step in range(2 if case in LAST else 0):
            model(batch(step, CASES["fsdp"])).square().mean().backward()
            optimizer.step()
        if recorder is not None:
            recorder.close()

    for case in OTHERWISE:
        attempt(case)
    attempt("in the end")
    # As by a process from before a restart, which lives on: of either rank.
    for rank in range(2):
        lock = RunPaths(folder / "in the end").rank(rank).lock
        held = None if rank == dist.get_rank() else WriterLock(lock)
        dist.barrier()
        attempt("in the end", told_as=f"rank {rank} in use", resume=True)
        dist.barrier()
        if held is not None:
            held.release()
    _get_default_store().set_timeout(timedelta(seconds=0.5))
    attempt("alone", asks=not second)
    dist.barrier()
    (folder / f"said-{dist.get_rank()}.json").write_text(json.dumps(told))


# What is trained for two steps.
LAST = ("order", "in the end", "alone")


def main(folder: Path, names: list[str]) -> None:
    """Run the cases, one after the other."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    given = json.loads(os.environ.get("SHARDED", "{}"))
    if names == ["otherwise"]:
        otherwise(folder)
        return
    killed = given.pop("killed", {}).get(str(dist.get_rank()), -1)
    for name in names:
        seen = train(CASES[name], folder / name, killed=killed, **given)
        if dist.get_rank() == 0:
            np.savez(folder / f"{name}.npz", **seen)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
