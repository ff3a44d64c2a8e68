"""A small corpus and a small experiment, quick enough to train in a test."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus, load_corpus


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Matrices this small are quickest on one thread, in this process and in those that a test starts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_config(tmp_path: Path) -> ExperimentConfig:
    """A tiny model on 3 kB of text, 20 steps."""
    path = tmp_path / "small.txt"
    letters = random.Random(5)
    path.write_bytes(
        bytes(letters.choice(b"the quick brown fox jumps over lazy dogs\n") for _ in range(3000))
    )
    return ExperimentConfig(
        dim=16,
        layers=1,
        heads=2,
        context=16,
        batch=4,
        steps=20,
        corpus=str(path),
        device="cpu",
        matmul="float32",
        # The effort that a busy machine has left would decide the bytes of the files.
        effort="small",
    )


@pytest.fixture
def small_corpus(small_config: ExperimentConfig) -> Corpus:
    """The text of ``small_config``."""
    return load_corpus(small_config.corpus, small_config.vocab_size, small_config.context)
