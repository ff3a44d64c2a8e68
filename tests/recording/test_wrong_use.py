"""What is easily done wrongly with the one line says what to do, and what it says to do works."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from embevo import RecordEmbeddings, Recorder, RecordLightning, open_run
from embevo.errors import ArgumentError
from embevo.recording.record import record


def model() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(40, 8), nn.Linear(8, 40))


def step(trained: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    trained(torch.tensor([1])).sum().backward()
    optimizer.step()


def test_a_capture_of_ones_own_within_the_forward_pass(tmp_path: Path) -> None:
    """It would make steps of what are none."""
    trained = model()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    with record(trained, optimizer, tmp_path / "run", parameter="0.weight") as recorder:
        hook = trained[0].register_forward_hook(lambda *_: recorder.capture(recorder.step + 1))
        with pytest.raises(ArgumentError, match=r"captures after every step .* leave the call out"):
            trained(torch.tensor([1]))
        hook.remove()
        step(trained, optimizer)
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1]


def test_moments_of_an_optimizer_that_keeps_none(tmp_path: Path) -> None:
    trained = model()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    what = ["embeddings", "embeddings.exp_avg"]
    with pytest.raises(ArgumentError, match=r"SGD keeps nothing called 'exp_avg' .* it keeps no tensor"):
        record(trained, optimizer, tmp_path / "run", what, parameter="0.weight")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["parameter", "unembedding"])
def test_a_tensor_in_place_of_its_name(tmp_path: Path, option: str) -> None:
    trained = model()
    optimizer = torch.optim.AdamW(trained.parameters())
    options: dict[str, Any] = {"parameter": "0.weight", option: trained[0].weight}
    with pytest.raises(ArgumentError, match=rf"{option} is Parameter .*; pass the name") as raised:
        record(trained, optimizer, tmp_path / "run", **options)
    assert len(str(raised.value)) < 300
    what: Any = [trained[0].weight]
    with pytest.raises(ArgumentError, match="names are strings") as raised:
        record(trained, optimizer, tmp_path / "run", what)
    assert len(str(raised.value)) < 300


def test_a_parameter_whose_name_is_none_for_an_array(tmp_path: Path) -> None:
    trained = model()
    optimizer = torch.optim.AdamW(trained.parameters())
    with pytest.raises(ArgumentError, match=r"{'matrix': '1\.weight'}, module=model"):
        record(trained, optimizer, tmp_path / "run", ["embeddings", "1.weight"], parameter="0.weight")
    with Recorder(tmp_path / "run", {"matrix": "1.weight"}, module=trained) as recorder:
        recorder.capture(0)
    what = ["embeddings", "unembeddings"]
    names = {"parameter": "0.weight", "unembedding": "1.weight"}
    with record(trained, optimizer, tmp_path / "other", what, **names):
        step(trained, optimizer)
    assert open_run(tmp_path / "other")["unembeddings"].shape == (2, 40, 8)


@pytest.mark.parametrize("how", ["record", "Trainer", "Lightning"])
def test_an_option_that_there_is_not(tmp_path: Path, how: str) -> None:
    """It is said before anything begins, and which one may be meant."""
    trained = model()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)

    def make(**options: Any) -> object:
        if how == "record":
            return record(trained, optimizer, tmp_path / "run", parameter="0.weight", **options)
        kind = RecordEmbeddings if how == "Trainer" else RecordLightning
        return kind(tmp_path / "run", **options)

    with pytest.raises(ArgumentError, match="no option 'block_step'; did you mean block_steps"):
        make(block_step=3)
    with pytest.raises(ArgumentError, match="no option 'xyz'; the options are attributes, block_steps, "):
        make(xyz=1)
    assert not (tmp_path / "run").exists()
