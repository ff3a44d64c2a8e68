"""Steps per second of the experiment's loop: against the Trainer, and with what else PyTorch offers."""

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.loop import ByteDataset, trainer_rate
from benchmarks.result import Ratio, Result, ratios
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus, load_corpus
from embevo.experiment.device import find_device
from embevo.experiment.loop import TrainingLoop

TRAINER = "Trainer with the notebook's dataset"
DEFAULT = "embevo train"


def _eager(loop: TrainingLoop) -> None:
    loop.model.set_attn_implementation("eager")


def _optimizer(*, foreach: bool) -> Callable[[TrainingLoop], None]:
    def change(loop: TrainingLoop) -> None:
        for group in loop.optimizer.param_groups:
            group["fused"], group["foreach"] = False, foreach

    return change


#: What each does to a loop of the default configuration, or to that configuration.
VARIANTS: dict[str, tuple[dict[str, object], Callable[[TrainingLoop], None] | None]] = {
    DEFAULT: ({}, None),
    "embevo train --compile": ({"compile": True}, None),
    "attention without SDPA": ({}, _eager),
    "AdamW not fused, foreach": ({}, _optimizer(foreach=True)),
    "AdamW not fused, one parameter at a time": ({}, _optimizer(foreach=False)),
}


class Variant:
    """A loop that is continued from round to round."""

    def __init__(self, config: ExperimentConfig, corpus: Corpus, name: str) -> None:
        fields, change = VARIANTS[name]
        changed = ExperimentConfig.from_mapping({**config.to_mapping(), **fields})
        self.loop = TrainingLoop(changed, corpus, find_device(config.device).device)
        if change is not None:
            change(self.loop)

    def rate(self, steps: int) -> float:
        """Steps per second, reading every loss, as recording it does."""
        start = time.perf_counter()
        for _ in range(steps):
            loss, _rate = self.loop.advance()
            loss.item()
        return steps / (time.perf_counter() - start)


def measure(*, quick: bool) -> Result:
    """In float32 and bfloat16, on the CPU and on CUDA where there is one."""
    result = Result(
        "Training loop",
        "The experiment's model and batches, nothing recorded. The bits are those of the embedding matrix "
        "after as many steps. The Trainer multiplies bfloat16 matrices as PyTorch itself does.",
        ("", "steps per second", "times embevo train's", "same bits"),
    )
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if len(devices) == 1:
        result.skipped.append("CUDA: there is no device here")
    for device in devices:
        for dtype in ("float32",) if quick else ("float32", "bfloat16"):
            _measure_one(result, device, dtype, steps=8, rounds=2, quick=quick)
    return result


def _measure_one(result: Result, device: str, dtype: str, *, steps: int, rounds: int, quick: bool) -> None:
    config = ExperimentConfig.from_mapping({"dtype": dtype, "device": device, "objective": "seed"})
    corpus = load_corpus(config.corpus, config.vocab_size, config.context)
    dataset = ByteDataset(corpus.tokens.tolist(), config.context)
    names = [DEFAULT] if quick else list(VARIANTS)
    variants = {name: Variant(config, corpus, name) for name in names}
    rates: dict[str, list[float]] = {name: [] for name in (*names, TRAINER)}
    for kept in range(rounds + 1):
        found = {name: variant.rate(steps) for name, variant in variants.items()}
        found[TRAINER] = trainer_rate(config, dataset, steps)
        if kept:
            for name, rate in found.items():
                rates[name].append(rate)
    bits = {
        name: variant.loop.embedding.detach().view(torch.uint8).cpu() for name, variant in variants.items()
    }
    for name, found_rates in rates.items():
        times = statistics.median(ratios(found_rates, rates[DEFAULT]))
        same = "" if name not in bits else "yes" if torch.equal(bits[name], bits[DEFAULT]) else "no"
        label = f"{dtype}, {name}" if device == "cpu" else f"{device}, {dtype}, {name}"
        result.rows.append((label, f"{statistics.median(found_rates):.1f}", f"{times:.2f}", same))
    result.samples[f"{device}, {dtype}"] = rates
    result.ratios.append(
        Ratio(
            f"{device}, {dtype}: embevo train over the Trainer",
            ratios(rates[DEFAULT], rates[TRAINER]),
            ">= 1",
            ">= 1.3",
        )
    )
