"""A Lightning training that is recorded by one more callback."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from embevo import RecordLightning, open_run
from embevo.errors import ArgumentError, DivergedError, RecordingWarning
from support.interpreters import interpreter

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("error::embevo.errors.RecordingWarning"),
]
lightning = pytest.importorskip("lightning.pytorch")

WHAT = ["embeddings", "embeddings.grad", "embeddings.exp_avg", "hidden_mean"]
STEPS, VOCABULARY = 6, 19


class Automatic(lightning.LightningModule):
    """A language model, as anybody would write it, that keeps plain copies of what its steps used."""

    def __init__(self, rate: float = 1e-2, fails_at: int = -1) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["fails_at"])
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=6,
            n_embd=8,
            n_layer=1,
            n_head=1,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        self.model = GPT2LMHeadModel(config)
        self.fails_at = fails_at
        self.kept: list[dict[str, Any]] = []
        self.losses: list[Tensor] = []
        self.hidden: list[Tensor] = []

    @property
    def weight(self) -> Any:
        return self.model.transformer.wte.weight

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        out = self.model(**batch, output_hidden_states=True)
        self.losses.append(out.loss.detach())
        self.hidden.append(out.hidden_states[-1][batch["attention_mask"] > 0].detach())
        loss: Tensor = out.loss
        return loss

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        if len(self.kept) == self.fails_at:
            raise RuntimeError("out of memory")
        return self.loss_of(batch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["rate"])
        self.watch(optimizer)
        return optimizer

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.register_step_post_hook(self.keep)

    def keep(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.kept.append(
            {
                "embeddings": self.weight.detach().clone(),
                # AdamW leaves the gradient as it was.
                "embeddings.grad": self.weight.grad.clone(),
                "embeddings.exp_avg": optimizer.state[self.weight]["exp_avg"].clone(),
                "loss": float(torch.stack(self.losses).mean()),
                "hidden_mean": torch.cat(self.hidden).double().mean(0).float(),
            }
        )
        self.losses.clear()
        self.hidden.clear()


class Manual(Automatic):
    """Two optimizers, stepped by hand; the second, which does not hold the embedding, twice as often."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: dict[str, Tensor], index: int) -> None:
        first, second = self.optimizers()
        if index % 2 == 0:
            self.manual_backward(self.loss_of(batch))
            first.step()
            first.zero_grad()
        self.manual_backward(self.model(**batch).loss)
        second.step()
        second.zero_grad()

    def configure_optimizers(self) -> Any:
        rest = [held for held in self.parameters() if held is not self.weight]
        first = torch.optim.AdamW([self.weight], lr=1e-2)
        self.watch(first)
        return first, torch.optim.SGD(rest, lr=1e-2)


def batches(count: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(count):
        ids = torch.randint(VOCABULARY, (3, 6), generator=generator)
        mask = torch.ones_like(ids)
        mask[0, 4:] = 0
        found.append({"input_ids": ids, "attention_mask": mask, "labels": ids})
    return found


def fit(
    path: Path,
    module: Any,
    callbacks: list[Any],
    *,
    library: Any = lightning,
    count: int = STEPS,
    **options: Any,
) -> None:
    checkpoint = options.pop("ckpt_path", None)
    trainer = lightning.Trainer(
        default_root_dir=str(path),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **{"max_epochs": 1, "enable_checkpointing": False, **options},
    )
    loader = torch.utils.data.DataLoader(batches(count), batch_size=None)
    trainer.fit(module, loader, ckpt_path=checkpoint)


def check(run: Any, kept: list[dict[str, Any]]) -> None:
    assert run.steps.tolist() == list(range(len(kept) + 1))
    for name in WHAT[:3]:
        np.testing.assert_array_equal(run[name][1:], np.stack([row[name].numpy() for row in kept]), name)
    np.testing.assert_allclose(run["loss"][1:], [row["loss"] for row in kept], rtol=1e-6)
    wanted = np.stack([row["hidden_mean"].numpy() for row in kept])
    np.testing.assert_allclose(run["hidden_mean"][1:], wanted, rtol=1e-5, atol=1e-7)
    assert run["learning_rate"][1:].tolist() == [1e-2] * len(kept)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_step_of_automatic_optimization(tmp_path: Path, accumulate: int) -> None:
    module = Automatic()
    fit(
        tmp_path / "out",
        module,
        [RecordLightning(tmp_path / "run", WHAT, block_steps=4)],
        count=STEPS * accumulate,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=0.1,
    )
    assert len(module.kept) == STEPS
    check(open_run(tmp_path / "run"), module.kept)


class Scaler(torch.amp.GradScaler):
    """On the CPU, and at its second step as after an overflow."""

    def __init__(self) -> None:
        super().__init__("cpu", init_scale=2.0**10)
        self.unscaled = 0

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        self.unscaled += 1
        if self.unscaled == 2:
            for group in optimizer.param_groups:
                for held in group["params"]:
                    held.grad.fill_(float("inf"))
        super().unscale_(optimizer)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision(tmp_path: Path, precision: str) -> None:
    """Recorded are the master weight in float32 and its gradient as the optimizer gets it, unscaled."""
    module = Automatic()
    path = tmp_path / "run"
    options: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":
        plugin = lightning.plugins.MixedPrecision("16-mixed", "cpu", scaler=Scaler())
        # Lightning takes it for bfloat16 on a CPU otherwise.
        options = {"plugins": [plugin]}
    fit(tmp_path / "out", module, [RecordLightning(path, WHAT)], gradient_clip_val=0.1, **options)
    # The step that the scaler skipped is none.
    skipped = int(precision == "16-mixed")
    assert len(module.kept) == STEPS - skipped
    run = open_run(path)
    assert run.steps.tolist() == list(range(STEPS + 1 - skipped))
    for name in WHAT[:3]:
        wanted = np.stack([row[name].numpy() for row in module.kept])
        np.testing.assert_array_equal(run[name][1:], wanted, name)
    assert run["embeddings.grad"].dtype == np.float32
    norms = np.sqrt((run["embeddings.grad"][1:].astype(np.float64) ** 2).sum((1, 2)))
    assert (norms <= 0.1 + 1e-6).all()
    assert np.isfinite(run["loss"][1:]).all()
    assert (run["loss"][1:] < 10).all()


def test_of_manual_optimization_the_optimizer_that_holds_the_embedding_counts(
    tmp_path: Path,
) -> None:
    module = Manual()
    fit(tmp_path / "out", module, [RecordLightning(tmp_path / "run", WHAT)])
    assert len(module.kept) == STEPS // 2
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(len(module.kept) + 1))
    for name in WHAT[:3]:
        np.testing.assert_array_equal(run[name][1:], torch.stack([row[name] for row in module.kept]).numpy())
    np.testing.assert_allclose(run["loss"][1:], [row["loss"] for row in module.kept], rtol=1e-6)


def test_it_goes_on_with_the_checkpoint_of_lightning(tmp_path: Path) -> None:
    def saving() -> Any:
        return lightning.callbacks.ModelCheckpoint(
            dirpath=tmp_path / "checkpoints", every_n_epochs=1, save_top_k=-1, filename="{step}"
        )

    def recorded(**more: Any) -> RecordLightning:
        return RecordLightning(tmp_path / "run", WHAT, resume="auto", block_steps=4, **more)

    # At the end of an epoch: within one, a plain DataLoader begins anew when Lightning goes on.
    options: dict[str, Any] = {"enable_checkpointing": True, "max_epochs": 3, "count": 2}
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(tmp_path / "out", Automatic(fails_at=5), [recorded(), saving()], **options)
    assert not (tmp_path / "run" / "journal").exists(), "it is sealed"
    assert open_run(tmp_path / "run").steps.tolist() == list(range(6))
    options["ckpt_path"] = str(tmp_path / "checkpoints" / "step=2.ckpt")
    module, callback = Automatic(), recorded()
    fit(tmp_path / "out", module, [callback], **options)
    assert callback.recorder is not None
    assert callback.recorder.stats.compared == 4
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(STEPS + 1))
    gradients = torch.stack([row["embeddings.grad"] for row in module.kept]).numpy()
    np.testing.assert_array_equal(run["embeddings.grad"][3:], gradients)
    with pytest.raises(DivergedError, match="rewind_to=2"):
        fit(tmp_path / "out", Automatic(), [recorded()], **options, gradient_clip_val=1e-3)
    fit(tmp_path / "out", Automatic(), [recorded(rewind_to=2)], **options, gradient_clip_val=1e-3)
    assert open_run(tmp_path / "run").steps.tolist() == list(range(STEPS + 1))


def test_the_run_keeps_the_hyperparameters(tmp_path: Path) -> None:
    fit(
        tmp_path / "out", Automatic(rate=0.25), [RecordLightning(tmp_path / "run")], accumulate_grad_batches=2
    )
    run = open_run(tmp_path / "run")
    assert run.config["rate"] == 0.25
    assert run.config["module"] == "Automatic"
    assert run.config["optimizer"]["class"] == "AdamW"
    assert run.config["trainer"]["accumulate_grad_batches"] == 2
    assert run.versions["lightning"] == version("lightning")


def test_several_gradients_of_one_step_are_none_of_it(tmp_path: Path) -> None:
    class Searching(Automatic):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=3)

    with pytest.warns(RecordingWarning, match="LBFGS computes several gradients"):
        fit(tmp_path / "out", Searching(), [RecordLightning(tmp_path / "run", WHAT[:2])])
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(STEPS + 1))
    assert np.isnan(run["embeddings.grad"][:]).all()
    assert np.isfinite(run["loss"][1:]).all()


def test_a_name_that_stands_for_nothing_ends_the_training_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"Did you mean model\.transformer"):
        fit(tmp_path / "out", Automatic(), [RecordLightning(tmp_path / "run", ["transformer.wte.weight"])])
    assert not (tmp_path / "run").exists()


def test_the_other_name_of_the_library(tmp_path: Path) -> None:
    """In a process of its own: the two do not go together in one."""
    pytest.importorskip("pytorch_lightning")
    code = """
import sys
sys.modules["lightning"] = None
import torch, pytorch_lightning
from embevo import RecordLightning, open_run

class Module(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)
    def training_step(self, batch, index):
        return self.embedding(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

trainer = pytorch_lightning.Trainer(
    max_steps=5, logger=False, enable_checkpointing=False, accelerator="cpu",
    callbacks=[RecordLightning("run")],
)
trainer.fit(Module(), torch.utils.data.DataLoader(torch.arange(10), batch_size=2))
print(open_run("run").steps.tolist())
"""
    done = subprocess.run(
        [interpreter(), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "[0, 1, 2, 3, 4, 5]" in done.stdout, done.stderr


def test_without_the_library_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["lightning"] = sys.modules["pytorch_lightning"] = None
import embevo
try:
    embevo.RecordLightning("run")
except embevo.MissingLibraryError as error:
    print(error)
"""
    done = subprocess.run([interpreter(), "-c", code], capture_output=True, text=True, check=False)
    assert "pip install embevo[lightning]" in done.stdout, done.stderr


@pytest.mark.parametrize("divided", [False, True])
def test_beside_the_first_process_those_record_that_have_a_piece_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, divided: bool
) -> None:
    module, callback = Automatic(), RecordLightning(tmp_path / "run")
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_steps=2)
    trainer.strategy.optimizers = [module.configure_optimizers()]
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", property(lambda _: False))
    monkeypatch.setattr("embevo.recording.adapters.lightning_callback.is_divided", lambda _: divided)
    callback.on_train_start(trainer, module)
    assert (callback.recorder is not None) == divided
    if callback.recorder is not None:
        callback.recorder.close()
        assert open_run(tmp_path / "run").steps.tolist() == [0]
