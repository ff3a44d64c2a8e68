import dataclasses
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embevo.errors import CheckpointError
from embevo.experiment import checkpoint as checkpoint_module
from embevo.experiment.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus, load_corpus
from embevo.experiment.loop import LoopState, TrainingLoop
from embevo.run.format.schedule import every
from support.interpreters import interpreter

SECOND_HALF = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from embevo.experiment.checkpoint import load_checkpoint
from embevo.experiment.config import ExperimentConfig, load_settings
from embevo.experiment.corpus import load_corpus
from embevo.experiment.loop import TrainingLoop
config = ExperimentConfig.from_mapping(load_settings(Path(sys.argv[1])))
loop = TrainingLoop(config, load_corpus(config.corpus, config.vocab_size, config.context))
loop.restore(load_checkpoint(Path(sys.argv[2])))
while loop.global_step < config.steps:
    loop.advance()
save_file(loop.state().tensors, sys.argv[3])
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_another_process_goes_on_with_the_same_bits(
    small_config: ExperimentConfig, tmp_path: Path, dtype: str
) -> None:
    # 40 windows in batches of 4: a new epoch begins before and after the checkpoint.
    corpus = tmp_path / "tiny.txt"
    corpus.write_bytes(Path(small_config.corpus).read_bytes()[:56])
    config = ExperimentConfig.from_mapping(
        small_config.to_mapping() | {"dtype": dtype, "corpus": str(corpus), "init": "normal"}
    )
    loop = TrainingLoop(config, load_corpus(config.corpus, config.vocab_size, config.context))
    for _ in range(11):
        loop.advance()
    place = save_checkpoint(tmp_path / "checkpoints", loop.state())
    for _ in range(9):
        loop.advance()
    (tmp_path / "config.toml").write_text(config.to_toml())
    arguments = [str(tmp_path / "config.toml"), str(place), str(tmp_path / "end.safetensors")]
    subprocess.run([interpreter(), "-c", SECOND_HALF, *arguments], check=True)
    straight = loop.state().tensors
    resumed = load_file(tmp_path / "end.safetensors")
    assert resumed.keys() == straight.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the checkpoints go."""
    return tmp_path / "checkpoints"


@pytest.fixture
def states(small_config: ExperimentConfig, small_corpus: Corpus) -> list[LoopState]:
    """States at steps 1 to 4."""
    loop = TrainingLoop(small_config, small_corpus)
    found = []
    for _ in range(4):
        loop.advance()
        found.append(loop.state())
    return found


def test_every_generator_comes_back(
    small_config: ExperimentConfig, small_corpus: Corpus, directory: Path
) -> None:
    loop = TrainingLoop(small_config, small_corpus)
    loop.advance()
    random.gauss(0, 1)
    np.random.standard_normal(3)  # noqa: NPY002
    place = save_checkpoint(directory, loop.state())

    def draw() -> list[float]:
        numpy_draws = np.random.standard_normal(3).tolist()  # noqa: NPY002
        return [random.gauss(0, 1), random.random(), *numpy_draws, *torch.rand(3).tolist()]

    expected = draw()
    assert draw() != expected
    loop.restore(load_checkpoint(place))
    assert draw() == expected


def test_the_last_two_are_kept(states: list[LoopState], directory: Path) -> None:
    for state in states[:3]:
        save_checkpoint(directory, state)
    assert sorted(path.name for path in directory.iterdir()) == ["step_0000002", "step_0000003"]
    save_checkpoint(directory, states[3], keep=1)
    assert [path.name for path in directory.iterdir()] == ["step_0000004"]


def test_where_the_run_was_removed_nothing_is_made_that_keeps_a_new_one_from_its_place(
    states: list[LoopState], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"Somebody has removed .*/run\."):
        save_checkpoint(tmp_path / "run" / "checkpoints", states[0])
    assert not (tmp_path / "run").exists()


def test_no_pickle(states: list[LoopState], directory: Path) -> None:
    place = save_checkpoint(directory, states[0])
    assert sorted(path.name for path in place.iterdir()) == ["checkpoint.json", "state.safetensors"]
    assert load_file(place / "state.safetensors").keys() == states[0].tensors.keys()


def test_saving_a_step_again_replaces_it(states: list[LoopState], directory: Path) -> None:
    place = save_checkpoint(directory, states[0])
    (place / "state.safetensors").write_bytes(b"damaged")
    save_checkpoint(directory, states[0])
    assert load_checkpoint(place).step == 1


@pytest.mark.parametrize("name", ["state.safetensors", "checkpoint.json"])
def test_any_flipped_bit_is_found(states: list[LoopState], directory: Path, name: str) -> None:
    place = save_checkpoint(directory, states[0])
    original = (place / name).read_bytes()
    load_checkpoint(place)
    bits = random.Random(1)
    for _ in range(300):
        position = bits.randrange(8 * len(original))
        damaged = bytearray(original)
        damaged[position // 8] ^= 1 << position % 8
        (place / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged"):
            load_checkpoint(place)
    for damage in (original[:-1], original + b"\0", b""):
        (place / name).write_bytes(damage)
        with pytest.raises(CheckpointError, match="is damaged"):
            load_checkpoint(place)
    (place / name).unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        load_checkpoint(place)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(states: list[LoopState], directory: Path) -> None:
    assert find_checkpoint(directory / "none", 100, every(1)).state is None
    save_checkpoint(directory, states[0])
    newest = save_checkpoint(directory, states[1])
    found = find_checkpoint(directory, 100, every(1))
    assert found.state is not None
    assert (found.state.step, found.damaged) == (2, [])
    with (newest / "state.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    found = find_checkpoint(directory, 100, every(1))
    assert found.state is not None
    assert found.state.step == 1
    assert len(found.damaged) == 1
    assert str(newest) in found.damaged[0]


def test_one_past_the_recorded_steps_is_passed_over(states: list[LoopState], directory: Path) -> None:
    save_checkpoint(directory, states[0])
    save_checkpoint(directory, states[1])
    found = find_checkpoint(directory, 1, every(1))
    assert found.state is not None
    assert (found.state.step, found.damaged) == (1, [])
    assert find_checkpoint(directory, 0, every(1)).state is None


def test_one_before_the_next_step_that_is_recorded_leaves_no_gap(
    states: list[LoopState], directory: Path
) -> None:
    """Of every third step; the checkpoints are at steps 3 and 4."""
    save_checkpoint(directory, states[2])
    save_checkpoint(directory, states[3])
    found = find_checkpoint(directory, 3, every(3))
    assert found.state is not None
    assert found.state.step == 4
    assert find_checkpoint(directory, 2, every(3)).state is None
    found = find_checkpoint(directory, 0, every(5))
    assert found.state is not None
    assert found.state.step == 4


def test_a_newer_format_is_refused_by_name(
    states: list[LoopState], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "FORMAT", 2)
    place = save_checkpoint(directory, states[0])
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format 2; this version of embevo reads format 1"):
        load_checkpoint(place)


@pytest.mark.parametrize("failing", ["state.safetensors", "checkpoint.json"])
def test_a_failed_write_leaves_the_checkpoints_as_they_were(
    states: list[LoopState], directory: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    save_checkpoint(directory, states[0])
    write_file = checkpoint_module.write_file

    def full(path: Path, data: bytes, *, sync: bool) -> None:
        if path.name == failing:
            raise OSError(28, "No space left on device", str(path))
        write_file(path, data, sync=sync)

    monkeypatch.setattr(checkpoint_module, "write_file", full)
    with pytest.raises(CheckpointError, match=f"{failing}: No space left on device"):
        save_checkpoint(directory, states[1])
    assert [path.name for path in directory.iterdir()] == ["step_0000001"]
    assert load_checkpoint(directory / "step_0000001").step == 1


def test_litter_of_a_killed_process_is_swept(states: list[LoopState], directory: Path) -> None:
    (directory / "step_0000009.partial").mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, directory / "step_0000009.partial" / "state.safetensors")
    save_checkpoint(directory, dataclasses.replace(states[0]))
    assert [path.name for path in directory.iterdir()] == ["step_0000001"]
