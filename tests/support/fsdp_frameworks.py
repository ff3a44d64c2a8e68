"""Trainings of a small GPT-2 under FSDP2 by accelerate and by the Trainer, in several processes on the CPU.

    torchrun --nproc-per-node=2 fsdp_frameworks.py FOLDER accelerate|trainer

accelerate divides no model on the CPU by itself; here it is told to take the processes for such as do. Beside
the run, FOLDER/seen.npz has what the whole matrices were at each step.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

import embevo
from embevo.recording.adapters.trainer_callback import RecordEmbeddings

VOCABULARY, POSITIONS, STEPS = 101, 16, 5
WHAT = ["embeddings", "embeddings.grad", "embeddings.exp_avg"]


def divide_on_the_cpu() -> None:
    """Have accelerate divide models among processes on the CPU."""
    begin = AcceleratorState.__init__

    def begun(state: Any, *args: Any, **keywords: Any) -> None:
        begin(state, *args, **keywords)
        shared = AcceleratorState._shared_state
        if shared.get("distributed_type") == DistributedType.MULTI_CPU:
            shared["distributed_type"] = DistributedType.FSDP
            shared["fsdp_plugin"] = FullyShardedDataParallelPlugin(
                fsdp_version=2,
                cpu_ram_efficient_loading=False,
                auto_wrap_policy="transformer_based_wrap",
                transformer_cls_names_to_wrap=["GPT2Block"],
            )

    AcceleratorState.__init__ = begun


def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"n_positions": POSITIONS, "n_embd": 32, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, tie_word_embeddings=False, **sizes, **ends))


def tokens(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (POSITIONS,), generator=generator)


def whole(divided: Any) -> Any:
    """A divided tensor as float32, on every process."""
    assert isinstance(divided, torch.distributed.tensor.DTensor)
    return divided.full_tensor().detach().float().numpy()


def by_accelerate(run: Path) -> dict[str, list[Any]]:
    accelerator = Accelerator(cpu=True)
    prepared = model()
    prepared, optimizer = accelerator.prepare(prepared, torch.optim.AdamW(prepared.parameters(), lr=1e-2))
    rank = accelerator.process_index
    seen: dict[str, list[Any]] = {name: [] for name in WHAT}
    with embevo.record(prepared, optimizer, run, WHAT):
        for step in range(STEPS):
            batch = torch.stack([tokens(100 * step + 2 * rank), tokens(100 * step + 2 * rank + 1)])
            accelerator.backward(prepared(input_ids=batch, labels=batch).loss)
            accelerator.clip_grad_norm_(prepared.parameters(), 1.0)
            weight = prepared.get_input_embeddings().weight
            seen["embeddings.grad"].append(whole(weight.grad))
            optimizer.step()
            optimizer.zero_grad()
            seen["embeddings"].append(whole(weight))
            (state,) = [value for key, value in optimizer.state.items() if key is weight]
            seen["embeddings.exp_avg"].append(whole(state["exp_avg"]))
    return seen


class Looking(TrainerCallback):
    """Keeps the whole matrix after each step."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
        self.seen.append(whole(model.get_input_embeddings().weight))


def by_trainer(run: Path) -> dict[str, list[Any]]:
    looking = Looking()
    trainer = Trainer(
        model=model(),
        args=TrainingArguments(
            output_dir=f"{run}-trainer", max_steps=STEPS, per_device_train_batch_size=2, use_cpu=True,
            report_to=[], save_strategy="no", learning_rate=1e-2, disable_tqdm=True,
        ),
        train_dataset=[{"input_ids": tokens(seed), "labels": tokens(seed)} for seed in range(64)],
        callbacks=[RecordEmbeddings(run, WHAT), looking],
    )  # fmt: skip
    trainer.train()
    return {"embeddings": looking.seen}


def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    divide_on_the_cpu()
    seen = {"accelerate": by_accelerate, "trainer": by_trainer}[how](folder / "run")
    torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        np.savez(folder / "seen.npz", **{name: np.stack(values) for name, values in seen.items()})
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
