"""The loop against the Hugging Face Trainer, on the same batches, bit by bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import load_corpus
from embevo.experiment.loop import TrainingLoop
from embevo.experiment.model import build_model
from embevo.experiment.sampler import WindowSampler

STEPS = 50


class SameBatches(Dataset[dict[str, torch.Tensor]]):
    """The windows that the loop's sampler will draw, in its order, with either kind of labels."""

    def __init__(self, config: ExperimentConfig) -> None:
        corpus = load_corpus(config.corpus, config.vocab_size, config.context)
        self.tokens = torch.from_numpy(corpus.tokens.copy()).long()
        self.config = config
        sampler = WindowSampler(len(self.tokens) - config.context, config.batch, config.seed)
        self.starts = torch.cat([sampler.draw() for _ in range(config.steps)]).tolist()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        chunk = self.tokens[self.starts[index] : self.starts[index] + self.config.context + 1]
        labels = chunk[1:] if self.config.objective == "seed" else chunk[:-1]
        return {"input_ids": chunk[:-1], "labels": labels}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As many threads as there are: reductions that are split among them must be split alike."""


class KeepEmbedding(TrainerCallback):
    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
        self.kept.append(model.transformer.wte.weight.detach().clone())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("dtype", "matmul", "autocast", "objective", "init"),
    [
        ("float32", "auto", False, "next-token", "qwen"),
        ("float32", "auto", False, "seed", "normal"),
        ("bfloat16", "native", False, "next-token", "normal"),
        ("bfloat16", "float32", False, "next-token", "qwen"),
        # The notebook's own: a bfloat16 model, and bf16=True on top.
        ("bfloat16", "native", True, "seed", "qwen"),
    ],
)
def test_every_step_has_the_trainers_bits(
    tmp_path: Path, dtype: Any, matmul: Any, autocast: bool, objective: Any, init: Any
) -> None:
    # 12 x 44 labels: a number that is not a power of two, so that dividing by it rounds.
    config = ExperimentConfig(
        dim=32,
        batch=12,
        context=44,
        dtype=dtype,
        matmul=matmul,
        objective=objective,
        init=init,
        steps=STEPS,
        device="cpu",
    )
    keep = KeepEmbedding()
    model = build_model(config)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=STEPS,
            per_device_train_batch_size=config.batch,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            seed=config.seed,
            use_cpu=True,
            bf16=autocast,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=SameBatches(config),
        callbacks=[keep],
    )
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    trainer.train()

    corpus = load_corpus(config.corpus, config.vocab_size, config.context)
    loop = TrainingLoop(config, corpus)
    start = loop.embedding.detach().clone()
    for step, theirs in enumerate(keep.kept, start=1):
        loop.advance()
        assert torch.equal(bits(loop.embedding), bits(theirs)), f"{dtype} differs at step {step}"
    assert len(keep.kept) == STEPS
    assert not torch.equal(start, loop.embedding)
    for name, theirs in model.named_parameters():
        assert torch.equal(bits(loop.model.get_parameter(name)), bits(theirs)), name


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32)
