"""How long a step of an experiment takes here: some steps are trained, and nothing is recorded."""

import statistics
import time
from typing import Final

import torch

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import load_corpus
from embevo.experiment.device import check_compiles, find_device
from embevo.experiment.loop import TrainingLoop

# What decides how long a step takes; seeds, initialisations and rates do not.
_OF_SPEED: Final = (
    "vocab_size",
    "dim",
    "layers",
    "heads",
    "context",
    "batch",
    "dtype",
    "matmul",
    "compile",
    "device",
)
_SECONDS: Final = 1.0
_FEWEST: Final = 5


def kind_of(config: ExperimentConfig) -> tuple[object, ...]:
    """What two runs have in common whose steps take as long."""
    return tuple(getattr(config, name) for name in _OF_SPEED)


def seconds_a_step(config: ExperimentConfig, threads: int) -> float:
    """Median of the steps of about a second, after some that are not counted.

    Args:
        config: of the run.
        threads: that torch computes with, meanwhile.

    Raises:
        CorpusError, DeviceError: as when it is trained.
    """
    corpus = load_corpus(
        config.corpus, config.vocab_size, config.context, drop_out_of_vocab=config.drop_out_of_vocab
    )
    found = find_device(config.device)
    if config.compile:
        check_compiles(found.device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loop = TrainingLoop(config, corpus, found.device)
        taken: list[float] = []
        # The loss is read: a device may still be computing when the call returns.
        for _ in range(_FEWEST):
            loop.advance()[0].item()
        begun = time.perf_counter()
        while len(taken) < _FEWEST or time.perf_counter() - begun < _SECONDS:
            start = time.perf_counter()
            loop.advance()[0].item()
            taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return statistics.median(taken)
