"""Data-parallel trainings in real processes: one records, under the names of the model itself."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from embevo import open_run
from support.interpreters import interpreter

PROCESSES, STEPS = 2, 4
WHAT = ["embeddings", "embeddings.grad", "embeddings.exp_avg", "hidden_mean", "transformer.ln_f.weight"]
TAKEN = {
    "embeddings": "transformer.wte.weight",
    "embeddings.grad": "transformer.wte.weight",
    "embeddings.exp_avg": "transformer.wte.weight",
    "transformer.ln_f.weight": "transformer.ln_f.weight",
}

# Every process keeps plain copies of what its own steps used.
SCRIPT = f"""
import contextlib, os, sys
from pathlib import Path
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
import embevo

WHAT, TAKEN, STEPS = {WHAT!r}, {TAKEN!r}, {STEPS}
out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
tokens = torch.randint(32, (64, 8), generator=torch.Generator().manual_seed(1))


def new_model():
    torch.manual_seed(0)
    sizes = dict(vocab_size=32, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


class Keep(TrainerCallback):
    def __init__(self, model, optimizer=None):
        self.model, self.kept = model, []
        if optimizer is not None:
            optimizer.register_step_post_hook(self.keep)

    def on_train_begin(self, *args, optimizer, **kwargs):
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        optimizer.register_step_post_hook(self.keep)

    def keep(self, optimizer, args, kwargs):
        row = {{}}
        for array, name in TAKEN.items():
            held = self.model.get_parameter(name)
            key = array.rpartition(".")[2]
            found = {{"grad": held.grad, "exp_avg": optimizer.state[held].get("exp_avg")}}.get(key, held.data)
            row[array] = found.clone()
        self.kept.append(row)

    def write(self, loop):
        torch.save(self.kept, out / f"{{loop}}-{{rank}}.pt")


distributed.init_process_group("gloo")

model = new_model()
parallel = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(parallel.parameters(), lr=1e-2)
keep = Keep(model, optimizer)
first = rank == 0
recording = embevo.record(parallel, optimizer, out / "plain", WHAT) if first else contextlib.nullcontext()
with recording as recorder:
    for step in range(STEPS):
        rows = tokens[8 * step + 4 * rank :][:4]
        loss = parallel(input_ids=rows, labels=rows).loss
        loss.backward()
        if recorder is not None:
            recorder.log(loss=loss)
        optimizer.step()
        optimizer.zero_grad()
keep.write("plain")

model = new_model()
keep = Keep(model)
callbacks = [embevo.RecordEmbeddings(out / "Trainer", WHAT), keep]
arguments = TrainingArguments(
    str(out / "checkpoints"), max_steps=STEPS, per_device_train_batch_size=4, learning_rate=1e-2,
    use_cpu=True, ddp_backend="gloo", report_to=[], save_strategy="no", disable_tqdm=True,
    dataloader_pin_memory=False,
)
data = [{{"input_ids": row, "labels": row}} for row in tokens]
trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=callbacks)
trainer.train()
assert type(trainer.model_wrapped).__name__ == "DistributedDataParallel"
assert (callbacks[0].recorder is not None) == first
keep.write("Trainer")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of both trainings, and the copies of every process."""
    path = tmp_path_factory.mktemp("trained")
    script = path / "script.py"
    script.write_text(SCRIPT)
    torchrun = [interpreter(), "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, f"--nproc-per-node={PROCESSES}", str(script), str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON_EXEC": interpreter()},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("loop", ["plain", "Trainer"])
def test_the_first_process_records_what_all_of_them_train(trained: Path, loop: str) -> None:
    run = open_run(trained / loop)
    assert run.steps.tolist() == list(range(STEPS + 1))
    assert set(run.frame.by_name) == set(WHAT)
    assert not list((trained / loop).glob("ranks"))
    kept = [torch.load(trained / f"{loop}-{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
    for name in TAKEN:
        for rows in kept:
            # The gradient, too, is the mean over the processes.
            np.testing.assert_array_equal(run[name][1:], np.stack([row[name].numpy() for row in rows]), name)
    assert np.isfinite(run["loss"][1:]).all()
    assert np.isfinite(run["hidden_mean"][1:]).all()
