"""Steps per second: the experiment's loop against the Hugging Face Trainer with the notebook's dataset class.

Both train the same model in one process, a round of one and a round of the other. Run it on an idle machine:

    python benchmarks/loop.py [--dtype bfloat16] [--steps 60] [--rounds 7] [--json FILE]
"""

import argparse
import dataclasses
import json
import logging
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus, load_corpus
from embevo.experiment.loop import TrainingLoop
from embevo.experiment.model import build_model


class ByteDataset(Dataset[dict[str, Tensor]]):
    """The notebook's dataset, line for line: two tensors per example, from a slice of a list of integers."""

    def __init__(self, byte_sequence: list[int], max_seq_len: int) -> None:
        self.byte_sequence = byte_sequence
        self.max_seq_len = max_seq_len

    def __len__(self) -> int:
        return max(0, len(self.byte_sequence) - self.max_seq_len)

    def __getitem__(self, idx: int) -> dict[str, Tensor]:
        chunk = self.byte_sequence[idx : idx + self.max_seq_len + 1]
        input_ids = torch.tensor(chunk[:-1], dtype=torch.long)
        labels = torch.tensor(chunk[1:], dtype=torch.long)
        return {"input_ids": input_ids, "labels": labels}


def trainer_rate(config: ExperimentConfig, dataset: ByteDataset, steps: int) -> float:
    """Steps per second of ``Trainer.train``, set up as in the notebook, logging every 100 steps."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            # PyTorch's own products: what the notebook's user gets.
            model=build_model(dataclasses.replace(config, matmul="native")),
            args=TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=config.batch,
                learning_rate=config.learning_rate,
                weight_decay=config.weight_decay,
                logging_steps=100,
                save_strategy="no",
                report_to=[],
                seed=config.seed,
                dataloader_num_workers=0,
                dataloader_pin_memory=False,
                use_cpu=config.device == "cpu",
                bf16=config.dtype == "bfloat16",
                disable_tqdm=True,
            ),
            train_dataset=dataset,
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        return steps / (time.perf_counter() - started)


def loop_rate(config: ExperimentConfig, corpus: Corpus, steps: int) -> float:
    """Steps per second of the experiment's loop, reading every loss, as recording it does."""
    loop = TrainingLoop(config, corpus)
    started = time.perf_counter()
    for _ in range(steps):
        loss, _rate = loop.advance()
        loss.item()
    return steps / (time.perf_counter() - started)


def measure(config: ExperimentConfig, steps: int, rounds: int) -> dict[str, list[float]]:
    """Steps per second of each, one number a round; a first round of each is thrown away."""
    corpus = load_corpus(config.corpus, config.vocab_size, config.context)
    dataset = ByteDataset(corpus.tokens.tolist(), config.context)
    samples: dict[str, list[float]] = {"Trainer": [], "embevo": []}
    for kept in range(rounds + 1):
        theirs = trainer_rate(config, dataset, steps)
        ours = loop_rate(config, corpus, steps)
        if kept:
            samples["Trainer"].append(theirs)
            samples["embevo"].append(ours)
    return samples


def report(samples: dict[str, list[float]]) -> dict[str, Any]:
    """Print a table; return medians, spreads and the ratio of each round."""
    print(f"{'':10}{'median it/s':>12}{'min':>8}{'max':>8}")
    for name, rates in samples.items():
        print(f"{name:10}{statistics.median(rates):12.1f}{min(rates):8.1f}{max(rates):8.1f}")
    pairs = zip(samples["embevo"], samples["Trainer"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    print(f"{'ratio':10}{statistics.median(ratios):12.2f}{min(ratios):8.2f}{max(ratios):8.2f}")
    return {"samples": samples, "ratios": ratios, "ratio": statistics.median(ratios)}


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--matmul", choices=["auto", "native", "float32"], default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    config = ExperimentConfig.from_mapping(
        {"dtype": options.dtype, "matmul": options.matmul, "device": options.device, "objective": "seed"}
    )
    print(f"{options.dtype}, {torch.get_num_threads()} threads, {options.rounds} rounds of {options.steps}")
    found = report(measure(config, options.steps, options.rounds))
    if options.json is not None:
        found |= {"config": config.to_mapping(), "torch": torch.__version__, "machine": platform.platform()}
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
