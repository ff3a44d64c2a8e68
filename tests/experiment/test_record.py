import dataclasses
import os
import platform
import random
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import load_file

from embevo import open_run
from embevo.errors import CorpusError, DeviceError, DivergedError, NotARunError, ResumeError, RunExistsError
from embevo.experiment import record as record_module
from embevo.experiment.config import ExperimentConfig, load_settings
from embevo.experiment.corpus import Corpus
from embevo.experiment.device import find_device
from embevo.experiment.interruption import StopRequest
from embevo.experiment.loop import TrainingLoop
from embevo.experiment.record import Beginning, run_experiment
from embevo.run import limits
from support.interpreters import interpreter

# Trains with a checkpoint every 5 steps, and dies without a word after a step.
DIES = """
import os, signal, sys
from pathlib import Path
from embevo.experiment.config import ExperimentConfig, load_settings
from embevo.experiment.record import run_experiment
def die(step, loss):
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
config = ExperimentConfig.from_mapping(load_settings(Path(sys.argv[1])))
run_experiment(config, Path(sys.argv[2]), resume=sys.argv[4] == "resume", on_step=die)
"""


def files_of(run_dir: Path) -> dict[str, bytes]:
    """Every file that holds results; the manifest also tells how they came about."""
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for part in ("trajectory.zarr", "snapshots", "checkpoints")
        for path in (run_dir / part).rglob("*")
        if path.is_file()
    }


def test_every_step_is_what_the_loop_held(
    small_config: ExperimentConfig, small_corpus: Corpus, tmp_path: Path
) -> None:
    seen: list[int] = []
    beginnings: list[Beginning] = []
    summary = run_experiment(
        small_config,
        tmp_path / "run",
        on_begin=beginnings.append,
        on_step=lambda step, _: seen.append(step),
    )
    loop = TrainingLoop(small_config, small_corpus)
    group = zarr.open_group(tmp_path / "run" / "trajectory.zarr", mode="r")
    stored = np.asarray(group["embeddings"][:])
    losses, rates = np.asarray(group["loss"][:]), np.asarray(group["learning_rate"][:])
    assert np.asarray(group["step"][:]).tolist() == list(range(21))
    assert np.isnan(losses[0])
    for step in range(21):
        if step:
            loss, rate = loop.advance()
            assert losses[step] == loss.item()
            assert rates[step] == rate
        held = loop.embedding.detach()
        assert np.array_equal(stored[step], held.float().numpy())
        snapshot = load_file(tmp_path / "run" / "snapshots" / f"step_{step:07d}.safetensors")
        assert torch.equal(snapshot["embeddings"], held)
    assert np.asarray(group["token_count"][:]).tolist() == small_corpus.token_count.tolist()
    assert seen == list(range(1, 21))
    assert beginnings[0].corpus.sha256 == small_corpus.sha256
    assert (summary.first_step, summary.last_step, summary.signal) == (0, 20, None)
    assert summary.stats.captured == 21
    assert summary.sizes["trajectory.zarr"] > 0


def test_the_run_knows_how_it_was_made(
    small_config: ExperimentConfig, small_corpus: Corpus, tmp_path: Path
) -> None:
    run_experiment(small_config, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert ExperimentConfig.from_mapping(load_settings(tmp_path / "run")) == small_config
    assert run.corpus["sha256"] == small_corpus.sha256
    assert run.corpus["bytes"] == small_corpus.byte_count
    assert run.attributes["environment"]["torch"] == torch.__version__
    assert run.attributes["vocabulary"] == "bytes"
    assert run.attributes["environment"]["threads"] == "1"
    assert run.attributes["versions"]["python"] == platform.python_version()


def test_the_same_command_twice_writes_the_same_files(small_config: ExperimentConfig, tmp_path: Path) -> None:
    run_experiment(small_config, tmp_path / "a")
    random.random()
    np.random.standard_normal()  # noqa: NPY002
    torch.rand(1)
    run_experiment(small_config, tmp_path / "b")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert "checkpoints/step_0000020/state.safetensors" in files_of(tmp_path / "a")


def test_every_nth_step_and_the_last(small_config: ExperimentConfig, tmp_path: Path) -> None:
    run_experiment(dataclasses.replace(small_config, every=8), tmp_path / "run")
    assert open_run(tmp_path / "run").steps.tolist() == [0, 8, 16, 20]


def test_checkpoints_by_steps_and_none(small_config: ExperimentConfig, tmp_path: Path) -> None:
    kept = {}

    def look(step: int, _: torch.Tensor) -> None:
        place = tmp_path / "run" / "checkpoints"
        kept[step] = sorted(path.name for path in place.iterdir()) if place.exists() else []

    run_experiment(dataclasses.replace(small_config, checkpoint_every=6), tmp_path / "run", on_step=look)
    assert kept[6] == []
    assert kept[7] == ["step_0000006"]
    assert kept[20] == ["step_0000012", "step_0000018"]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_0000020"]
    run_experiment(dataclasses.replace(small_config, checkpoint_seconds=0), tmp_path / "none")
    assert not (tmp_path / "none" / "checkpoints").exists()


def test_checkpoints_by_time(
    small_config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    saved: list[int] = []
    monkeypatch.setattr(record_module.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(record_module, "save_checkpoint", lambda _, state, **__: saved.append(state.step))
    run_experiment(dataclasses.replace(small_config, checkpoint_seconds=4.0), tmp_path / "run")
    # Saving looks at the clock once more, so that five looks make four seconds.
    assert len(saved) > 3
    assert saved == sorted(set(saved))
    assert saved[-1] == 20


def test_a_bad_corpus_or_device_leaves_nothing(small_config: ExperimentConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(CorpusError):
        run_experiment(dataclasses.replace(small_config, corpus="nowhere.txt"), run)
    with pytest.raises(DeviceError, match="auto, cpu, cuda, cuda:N or mps"):
        run_experiment(dataclasses.replace(small_config, device="abacus"), run)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="there is no cuda device here"):
            run_experiment(dataclasses.replace(small_config, device="cuda"), run)
    with pytest.raises(ResumeError, match="Only a run that is resumed"):
        run_experiment(small_config, run, rewind=True)
    assert not run.exists()


def test_a_run_is_not_overwritten_unless_asked(small_config: ExperimentConfig, tmp_path: Path) -> None:
    short = dataclasses.replace(small_config, steps=3)
    run_experiment(short, tmp_path / "run")
    before = files_of(tmp_path / "run")
    with pytest.raises(RunExistsError):
        run_experiment(dataclasses.replace(short, seed=1), tmp_path / "run")
    assert files_of(tmp_path / "run") == before
    run_experiment(dataclasses.replace(short, seed=1), tmp_path / "run", overwrite=True)
    assert files_of(tmp_path / "run") != before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step(
    small_config: ExperimentConfig, tmp_path: Path, number: signal.Signals
) -> None:
    def interrupt(step: int, _: torch.Tensor) -> None:
        if step == 7:
            # Twice: an impatient user.
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGINT)

    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    summary = run_experiment(small_config, tmp_path / "run", on_step=interrupt)
    assert (summary.signal, summary.last_step) == (number, 7)
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers
    assert not (tmp_path / "run" / "journal").exists()
    assert open_run(tmp_path / "run").steps.tolist() == list(range(8))
    # Nothing is trained again: the checkpoint is that of the step it was stopped at.
    resumed = run_experiment(small_config, tmp_path / "run", resume=True)
    assert (resumed.first_step, resumed.last_step, resumed.stats.compared) == (7, 20, 0)
    run_experiment(small_config, tmp_path / "straight")
    assert files_of(tmp_path / "run") == files_of(tmp_path / "straight")


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    found: list[Any] = []

    def enter() -> None:
        with StopRequest() as stop:
            found.extend([signal.getsignal(signal.SIGTERM), stop.signal])

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [handler, None]


def test_killed_twice_and_resumed_the_files_are_the_same(
    small_config: ExperimentConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_config, checkpoint_every=5)
    (tmp_path / "config.toml").write_text(config.to_toml())
    for step, how in (("13", "new"), ("14", "resume")):
        command = [
            interpreter(),
            "-c",
            DIES,
            str(tmp_path / "config.toml"),
            str(tmp_path / "run"),
            step,
            how,
        ]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    summary = run_experiment(config, tmp_path / "run", resume=True)
    assert summary.first_step == 10
    assert summary.stats.compared == 4
    run_experiment(config, tmp_path / "straight")
    assert files_of(tmp_path / "run") == files_of(tmp_path / "straight")


def stopped(config: ExperimentConfig, run: Path, at: int) -> None:
    def interrupt(step: int, _: torch.Tensor) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    run_experiment(config, run, on_step=interrupt)


def test_without_a_checkpoint_it_begins_again_and_compares(
    small_config: ExperimentConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_config, checkpoint_seconds=0)
    stopped(config, tmp_path / "run", at=9)
    summary = run_experiment(config, tmp_path / "run", resume=True)
    assert (summary.first_step, summary.stats.compared, summary.stats.captured) == (0, 10, 11)


def test_a_damaged_checkpoint_is_told_and_the_one_before_used(
    small_config: ExperimentConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_config, checkpoint_every=5)
    stopped(config, tmp_path / "run", at=12)
    newest = tmp_path / "run" / "checkpoints" / "step_0000012" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    beginnings: list[Beginning] = []
    summary = run_experiment(config, tmp_path / "run", resume=True, on_begin=beginnings.append)
    assert (summary.first_step, summary.stats.compared) == (10, 2)
    assert len(beginnings[0].notes) == 1
    assert str(newest) in beginnings[0].notes[0]
    run_experiment(config, tmp_path / "straight")
    assert files_of(tmp_path / "run") == files_of(tmp_path / "straight")


def test_a_finished_run_has_nothing_left_to_do(small_config: ExperimentConfig, tmp_path: Path) -> None:
    run_experiment(small_config, tmp_path / "run")
    before = files_of(tmp_path / "run")
    summary = run_experiment(small_config, tmp_path / "run", resume=True)
    assert (summary.first_step, summary.last_step, summary.stats.captured) == (20, 20, 0)
    assert files_of(tmp_path / "run") == before


def test_resuming_as_something_else_is_refused_by_name(
    small_config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(small_config, tmp_path / "run", at=5)
    before = files_of(tmp_path / "run")

    def refused(config: ExperimentConfig) -> str:
        with pytest.raises(ResumeError) as error:
            run_experiment(config, tmp_path / "run", resume=True)
        return str(error.value)

    text = refused(dataclasses.replace(small_config, learning_rate=0.5, every=2))
    assert "learning_rate was 0.001 and is 0.5" in text
    assert "every was 1 and is 2" in text
    corpus = tmp_path / "other.txt"
    corpus.write_bytes(Path(small_config.corpus).read_bytes() + b"!")
    assert "corpus SHA-256 was" in refused(dataclasses.replace(small_config, corpus=str(corpus)))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.99.0")
        text = refused(small_config)
        assert f"torch was {torch.__version__!r}" not in text
        assert "and is '2.99.0'" in text
    assert files_of(tmp_path / "run") == before
    # The same bytes under another path, and what only concerns recording, may change.
    moved = tmp_path / "moved.txt"
    moved.write_bytes(Path(small_config.corpus).read_bytes())
    other = dataclasses.replace(small_config, corpus=str(moved), when_full="error", checkpoint_every=3)
    assert run_experiment(other, tmp_path / "run", resume=True).last_step == 20


def test_diverging_is_told_or_rewound(
    small_config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(small_config, checkpoint_seconds=0)
    stopped(config, tmp_path / "run", at=9)
    exact = TrainingLoop.advance

    def advance(loop: TrainingLoop, before_update: Any = None) -> tuple[torch.Tensor, float]:
        result = exact(loop, before_update)
        if loop.global_step == 4:
            with torch.no_grad():
                loop.embedding[3, 2] += 1
        return result

    monkeypatch.setattr(TrainingLoop, "advance", advance)
    with pytest.raises(DivergedError, match=r"step 4.*token 3"):
        run_experiment(config, tmp_path / "run", resume=True)
    beginnings: list[Beginning] = []
    summary = run_experiment(config, tmp_path / "run", resume=True, rewind=True, on_begin=beginnings.append)
    assert (summary.first_step, summary.stats.compared, summary.stats.captured) == (0, 0, 21)
    assert beginnings[0].notes == ["Dropped 10 steps that were recorded after the checkpoint."]
    run_experiment(config, tmp_path / "straight")
    straight, run = open_run(tmp_path / "straight"), open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(21))
    assert np.array_equal(np.asarray(run["embeddings"][:]), np.asarray(straight["embeddings"][:]))


def test_auto_finds_a_device() -> None:
    found = find_device("auto")
    assert found.device.type in {"cuda", "mps", "cpu"}
    assert found.description


def test_settings_of_a_directory_that_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match="is not a run"):
        load_settings(tmp_path)


def test_where_nothing_can_be_compiled_nothing_is_written(
    small_config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiler(function: Any) -> Any:
        def call(*_: Any) -> None:
            raise RuntimeError("no C++ compiler found\nSet CXX.")

        return call

    monkeypatch.setattr(torch, "compile", compiler)
    with pytest.raises(
        DeviceError, match=r"does not work here: no C\+\+ compiler found\. .* without --compile"
    ):
        run_experiment(dataclasses.replace(small_config, compile=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_may_not_fit_is_noted_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = dataclasses.replace(limits.disk_room(tmp_path), free_files=3)
    monkeypatch.setattr("embevo.run.planning.disk_room", lambda _: room)
    begun: list[Beginning] = []
    config = ExperimentConfig(dim=8, layers=1, heads=1, context=8, batch=2, steps=2, device="cpu")
    run_experiment(config, tmp_path / "run", on_begin=begun.append)
    assert any(note.startswith("May not fit: The run takes ") for note in begun[0].notes)
