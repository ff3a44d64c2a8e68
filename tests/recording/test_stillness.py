"""A matrix that stands still while an optimizer steps is named once; nothing else is."""

import gc
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from embevo import Recorder
from embevo.errors import RecordingWarning
from embevo.recording.stillness import STILL_CAPTURES

SHAPE = (6, 4)


class Training:
    """A weight that moves at every step of an optimizer."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.randn(SHAPE))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.weight.square().sum().backward()
        self.optimizer.step()


def said(path: Path, matrices: dict[str, Any], between: Callable[[], None], captures: int) -> list[str]:
    """What is said of so many captures."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Recorder(path, matrices, store="zarr", block_steps=16) as recorder:
            for step in range(captures):
                recorder.capture(step)
                between()
                if step % 16 == 15:
                    # So that the writer looks while training goes on, however fast that is.
                    recorder.flush()
    return [
        str(found.message).split(" ")[0] for found in caught if issubclass(found.category, RecordingWarning)
    ]


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "a clone": lambda weight: weight.detach().clone(),
    "a cast": lambda weight: weight.detach().double(),
    "rows": lambda weight: weight.detach()[[1, 2]],
}


@pytest.mark.parametrize("beside", [True, False], ids=["beside one that moves", "alone"])
@pytest.mark.parametrize("copy", list(COPIES))
def test_a_copy_is_named_once(tmp_path: Path, copy: str, beside: bool) -> None:
    training = Training()
    matrices = {"copy": COPIES[copy](training.weight)} | ({"trained": training.weight} if beside else {})
    assert said(tmp_path / "run", matrices, training.step, 4 * STILL_CAPTURES) == ["copy"]


def test_it_takes_a_hundred_captures(tmp_path: Path) -> None:
    for captures, expected in ((STILL_CAPTURES, []), (STILL_CAPTURES + 3, ["copy"])):
        training = Training()
        matrices = {"copy": training.weight.detach().clone()}
        assert said(tmp_path / str(captures), matrices, training.step, captures) == expected


def test_nothing_is_said_where_nothing_stands_still(tmp_path: Path) -> None:
    training = Training()
    rare = torch.zeros(SHAPE)
    count = iter(range(10_000))

    def step() -> None:
        training.step()
        if next(count) % (STILL_CAPTURES // 2) == 0:
            rare[-1, -1] += 1

    matrices = {"trained": training.weight, "rare": rare}
    assert said(tmp_path / "run", matrices, step, 4 * STILL_CAPTURES) == []
    assert said(tmp_path / "alone", {"rare": rare}, step, 4 * STILL_CAPTURES) == []


def test_nothing_is_said_where_no_optimizer_steps(tmp_path: Path) -> None:
    assert said(tmp_path / "run", {"still": torch.zeros(SHAPE)}, lambda: None, 3 * STILL_CAPTURES) == []


def test_nothing_is_said_of_what_is_frozen(tmp_path: Path) -> None:
    training, frozen = Training(), nn.Embedding(*SHAPE).requires_grad_(requires_grad=False)
    for name, given in (("parameter", frozen.weight), ("data", frozen.weight.data)):
        assert said(tmp_path / name, {"frozen": given}, training.step, 2 * STILL_CAPTURES) == []


def test_one_that_comes_to_a_standstill_is_named(tmp_path: Path) -> None:
    training = Training()
    trained = training.weight.detach().clone()
    count = iter(range(10_000))

    def step() -> None:
        training.step()
        if next(count) < STILL_CAPTURES:
            trained.copy_(training.weight.detach())

    assert said(tmp_path / "run", {"stopped": trained}, step, 3 * STILL_CAPTURES) == ["stopped"]


def test_steps_are_counted_only_while_it_records(tmp_path: Path) -> None:
    hooks = torch_optimizer._global_optimizer_post_hooks
    before = len(hooks)
    with Recorder(tmp_path / "closed", {"embeddings": torch.zeros(SHAPE)}):
        assert len(hooks) == before + 1
    assert len(hooks) == before
    recorder = Recorder(tmp_path / "forgotten", {"embeddings": torch.zeros(SHAPE)})
    assert len(hooks) == before + 1
    del recorder
    gc.collect()
    assert len(hooks) == before
    for thread in threading.enumerate():
        if thread.name.startswith("embevo-"):
            thread.join()
