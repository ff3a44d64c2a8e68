"""A Hugging Face Trainer that is recorded by one more callback."""

import gc
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from embevo import open_run
from embevo.errors import DivergedError, RunExistsError
from embevo.recording.adapters.kept_configuration import plain
from embevo.recording.adapters.trainer_callback import RecordEmbeddings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
STEPS = 6


class Keep(TrainerCallback):
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
        self.kept.append(model.transformer.wte.weight.detach().clone().numpy())


class KeepAll(TrainerCallback):
    """What every step had of the embedding, and what the Trainer itself logged of it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.logged: list[dict[str, float]] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        self.rows.append({"embeddings.grad": model.transformer.wte.weight.grad.clone().numpy()})

    def on_step_end(self, *_: Any, model: Any, optimizer: Any, **__: Any) -> None:
        weight = model.transformer.wte.weight
        moments = optimizer.state[weight]
        self.rows[-1]["embeddings"] = weight.detach().clone().numpy()
        self.rows[-1]["embeddings.exp_avg"] = moments["exp_avg"].clone().numpy()

    def on_log(self, *_: Any, logs: Any, **__: Any) -> None:
        if "loss" in logs:
            self.logged.append(dict(logs))


def train(
    path: Path,
    callbacks: list[TrainerCallback],
    *,
    loss: Any = None,
    checkpoint: str | None = None,
    **options: Any,
) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
        )
    )
    data = [{"input_ids": tokens, "labels": tokens} for tokens in torch.randint(32, (64, 16))]
    arguments = TrainingArguments(
        output_dir=str(path),
        **{
            "max_steps": STEPS,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-2,
            "use_cpu": True,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **options,
        },
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=data, callbacks=callbacks, compute_loss_func=loss
    )
    trainer.train(resume_from_checkpoint=checkpoint)
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


WHAT = ["embeddings", "embeddings.grad", "embeddings.exp_avg", "hidden_mean"]


def own_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    return (
        2
        * torch.nn.functional.cross_entropy(
            outputs["logits"].flatten(0, 1), labels.flatten(), reduction="sum"
        )
        / (num_items_in_batch or labels.numel())
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 1, "max_grad_norm": 0.05},
        {"label_smoothing_factor": 0.1, "optim": "adamw_torch"},
        {"loss": own_loss, "bf16": True},
        {"gradient_accumulation_steps": 3, "num_train_epochs": 1, "max_steps": -1},
    ],
    ids=["accumulated", "clipped", "smoothed", "own-loss", "last-step-shorter"],
)
def test_a_step_has_its_gradient_its_moments_and_the_loss_that_the_trainer_logs(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    keep = KeepAll()
    # The other callback sees the gradient when this one may have done its part or not.
    train(tmp_path / "out", [RecordEmbeddings(tmp_path / "run", WHAT), keep], logging_steps=1, **options)
    run = open_run(tmp_path / "run")
    assert len(keep.logged) == len(run.steps) - 1 > 3
    for name in WHAT[:3]:
        kept = np.stack([row[name] for row in keep.rows])
        assert np.abs(kept).max() > 0
        np.testing.assert_array_equal(run[name][1:], kept, name)
    for name in ("loss", "grad_norm", "learning_rate"):
        assert run[name][1:].tolist() == [logged[name] for logged in keep.logged], name
    assert np.isfinite(run["hidden_mean"][1:]).all()
    assert np.isnan(run["embeddings.grad"][0]).all()


def test_the_accelerator_is_left_as_it_was(tmp_path: Path) -> None:
    from accelerate import Accelerator

    before = Accelerator.backward, Accelerator.clip_grad_norm_
    with pytest.raises(RuntimeError, match="out of memory"):
        train(tmp_path / "out", [RecordEmbeddings(tmp_path / "run", WHAT), Fail()])
    train(tmp_path / "out", [RecordEmbeddings(tmp_path / "a"), RecordEmbeddings(tmp_path / "b")])
    gc.collect()
    train(tmp_path / "out", [RecordEmbeddings(tmp_path / "c")])
    assert (Accelerator.backward, Accelerator.clip_grad_norm_) == before
    for name in "abc":
        assert np.isfinite(open_run(tmp_path / name)["loss"][1:]).all()


def test_it_goes_on_with_the_checkpoint_of_the_trainer(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 1}

    def recorded(**more: Any) -> RecordEmbeddings:
        return RecordEmbeddings(tmp_path / "run", WHAT, resume="auto", block_steps=4, **more)

    with pytest.raises(RuntimeError, match="out of memory"):
        train(tmp_path / "out", [recorded(), Fail()], **options)
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2, 3]
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    callback = recorded()
    keep = KeepAll()
    train(tmp_path / "out", [callback, keep], checkpoint=checkpoint, **options)
    assert callback.recorder is not None
    assert callback.recorder.stats.compared == 2
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(STEPS + 1))
    np.testing.assert_array_equal(
        run["embeddings.grad"][3:], np.stack([row["embeddings.grad"] for row in keep.rows])
    )
    # The advice of the error, where the training is another one.
    with pytest.raises(DivergedError, match="rewind_to=2"):
        train(tmp_path / "out", [recorded()], checkpoint=checkpoint, **options, seed=7, weight_decay=0.5)
    train(
        tmp_path / "out", [recorded(rewind_to=2)], checkpoint=checkpoint, **options, seed=7, weight_decay=0.5
    )
    assert open_run(tmp_path / "run").steps.tolist() == list(range(STEPS + 1))


def test_it_makes_nobody_warn(tmp_path: Path) -> None:
    """The schedulers of torch warn where a step was replaced after they were made."""

    def said(*callbacks: TrainerCallback) -> set[str]:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            train(tmp_path / "out", list(callbacks))
        return {str(one.message) for one in found}

    assert said(RecordEmbeddings(tmp_path / "run", WHAT)) <= said()


def test_the_run_keeps_the_configuration_and_no_secret(tmp_path: Path) -> None:
    train(tmp_path / "out", [RecordEmbeddings(tmp_path / "run")], hub_token="hf_secret", seed=3)
    run = open_run(tmp_path / "run")
    assert run.config["learning_rate"] == 1e-2
    assert run.config["seed"] == 3
    assert run.config["lr_scheduler_type"] == "linear"
    assert run.config["model"]["n_embd"] == 8
    assert run.config["model"]["class"] == "GPT2LMHeadModel"
    assert run.versions["torch"] == torch.__version__
    written = "".join(path.read_text() for path in (tmp_path / "run").rglob("zarr.json"))
    assert "hf_secret" not in written
    assert str(tmp_path) not in written
    train(tmp_path / "out", [RecordEmbeddings(tmp_path / "own", attributes={"config": {"mine": 1}})])
    assert open_run(tmp_path / "own").config == {"mine": 1}


def test_what_is_kept_is_plain_json_without_secrets() -> None:
    given = {
        "dtype": torch.bfloat16,
        "path": Path("a"),
        "api_key": "k",
        1: float("inf"),
        "in": [{"hub_token": "t"}],
    }
    kept = plain(given)
    assert kept == {"dtype": "torch.bfloat16", "path": "a", "1": "inf", "in": [{}]}
    assert json.loads(json.dumps(kept)) == kept
