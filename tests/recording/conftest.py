"""What the tests of the recorder start from."""

from collections.abc import Iterator

import pytest
import torch

from support.captures import SHAPE
from support.sinks import SlowSink


@pytest.fixture
def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(SHAPE))


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowSink]:
    slow = SlowSink(monkeypatch)
    yield slow
    slow.let_all()
