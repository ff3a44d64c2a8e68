"""A Hugging Face Trainer that is recorded by one more callback."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from embevo import open_run
from embevo.errors import RunExistsError
from embevo.recording.adapters.trainer_callback import RecordEmbeddings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
STEPS = 6


class Keep(TrainerCallback):
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
        self.kept.append(model.transformer.wte.weight.detach().clone().numpy())


def train(path: Path, callbacks: list[TrainerCallback], **options: Any) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
        )
    )
    data = [{"input_ids": tokens, "labels": tokens} for tokens in torch.randint(32, (64, 16))]
    arguments = TrainingArguments(
        output_dir=str(path),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    Trainer(model=model, args=arguments, train_dataset=data, callbacks=callbacks).train()
    return model


def test_every_optimizer_step_is_recorded(tmp_path: Path) -> None:
    keep = Keep()
    train(tmp_path / "out", [RecordEmbeddings(tmp_path / "run", store="both", block_steps=4), keep])
    run = open_run(tmp_path / "run")
    assert not (tmp_path / "run" / "journal").exists(), "it was closed"
    assert run.steps.tolist() == list(range(STEPS + 1))
    assert np.array_equal(run["embeddings"][1:], np.stack(keep.kept))
    assert not np.array_equal(run["embeddings"][0], run["embeddings"][1])
    # The rate that each step used, not the one that the scheduler sets for the next.
    assert run["learning_rate"][1:].tolist() == pytest.approx(
        [1e-2 * (STEPS - k) / STEPS for k in range(STEPS)]
    )


class Fail(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3:
            raise RuntimeError("out of memory")


def test_what_was_captured_before_an_exception_is_kept(tmp_path: Path) -> None:
    callback = RecordEmbeddings(tmp_path / "run", block_steps=4)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(tmp_path / "out", [callback, Fail()])
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2, 3]
    assert callback.recorder is not None
    callback.recorder.close()


def test_a_matrix_is_recorded_by_its_name(tmp_path: Path) -> None:
    name = "transformer.wpe.weight"
    model = train(tmp_path / "out", [RecordEmbeddings(tmp_path / "run", parameter=name, resume="auto")])
    assert np.array_equal(
        open_run(tmp_path / "run")["embeddings"][-1], model.get_parameter(name).detach().numpy()
    )


def test_no_training_dies_of_a_learning_rate(tmp_path: Path) -> None:
    class Hide(TrainerCallback):
        """As an optimizer that works its rate out by itself."""

        def on_pre_optimizer_step(self, *_: Any, optimizer: Any, **__: Any) -> None:
            self.groups = optimizer.param_groups
            self.rates = [group["lr"] for group in self.groups]

        def on_optimizer_step(self, *_: Any, **__: Any) -> None:
            for group in self.groups:
                group["lr"] = None

        def on_step_end(self, *_: Any, **__: Any) -> None:
            for group, rate in zip(self.groups, self.rates, strict=True):
                group["lr"] = rate

    train(tmp_path / "out", [Hide(), RecordEmbeddings(tmp_path / "run")], lr_scheduler_type="constant")
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(STEPS + 1))
    assert np.isnan(run["learning_rate"][:]).all()


def test_the_cell_of_a_notebook_is_run_again_after_an_exception(tmp_path: Path) -> None:
    """Each time with a new callback, while something keeps the ones before alive."""
    kept = []

    def cell(*, fails: bool, **options: Any) -> None:
        kept.append(RecordEmbeddings(tmp_path / "run", block_steps=4, **options))
        train(tmp_path / "out", [kept[-1], *([Fail()] if fails else [])])

    with pytest.raises(RuntimeError, match="out of memory"):
        cell(fails=True)
    with pytest.raises(RunExistsError):
        cell(fails=False)
    assert not (tmp_path / "run" / "journal").exists(), "it is sealed"
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="out of memory"):
        cell(fails=True, overwrite=True)
    cell(fails=False, resume=True)
    assert open_run(tmp_path / "run").steps.tolist() == list(range(STEPS + 1))
    assert not (tmp_path / "run" / "journal").exists()
