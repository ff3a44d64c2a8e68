"""Checkpoints at chosen steps: they are kept and listed, and training goes on from each of them."""

import dataclasses
import json
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, zeros

from embevo import open_run
from embevo.errors import ConfigError
from embevo.experiment.checkpoint import load_checkpoint, save_checkpoint
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.loop import LoopState
from embevo.experiment.record import run_experiment
from embevo.run.checkpoint_files import checkpoint_steps, is_kept
from embevo.run.repair.rewinding import rewind_to


def there(run: Path) -> list[int]:
    return checkpoint_steps(run / "checkpoints")


def kept(run: Path) -> list[int]:
    return [step for step in there(run) if is_kept(run / "checkpoints", step)]


def test_those_that_were_asked_for_stay(small_config: ExperimentConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(small_config, checkpoint_at="log:3+12", checkpoint_every=3)
    seen: dict[int, list[int]] = {}
    run = tmp_path / "run"
    run_experiment(config, run, on_step=lambda step, _: seen.update({step: there(run)}))
    assert seen[1] == [0]
    assert seen[13] == [0, 1, 2, 5, 9, 10, 12]
    assert seen[20] == [0, 1, 2, 5, 10, 12, 15, 18]
    assert there(tmp_path / "run") == [0, 1, 2, 5, 10, 12, 20]
    assert kept(tmp_path / "run") == [0, 1, 2, 5, 10, 12]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=25), st.integers(1, 4))
def test_of_the_others_the_newest_stay(saves: list[tuple[int, bool]], keep: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for_good: set[int] = set()
        others: set[int] = set()
        for step, stays in saves:
            save_checkpoint(directory, LoopState(step, {"x": zeros(1)}, {}), keep, for_good=stays)
            if stays:
                for_good.add(step)
            before = sorted(others - for_good - {step})
            others = {*before[max(0, len(before) - keep + 1) :], step}
            assert checkpoint_steps(directory) == sorted(for_good | others)
            assert [at for at in checkpoint_steps(directory) if is_kept(directory, at)] == sorted(for_good)
        assert load_checkpoint(directory / f"step_{saves[-1][0]:07d}").step == saves[-1][0]


def test_training_goes_on_from_each_of_them(small_config: ExperimentConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        small_config, checkpoint_at="0,1,4,9", record="weights,grad,exp_avg,exp_avg_sq", checkpoint_seconds=0
    )
    run_experiment(config, tmp_path / "straight")
    straight = open_run(tmp_path / "straight")
    run_experiment(config, tmp_path / "run")
    for step in (9, 4, 1, 0):
        rewind_to(tmp_path / "run", step)
        summary = run_experiment(config, tmp_path / "run", resume=True)
        # The state of step 0 is captured again, and compared, where training begins with it.
        assert (summary.first_step, summary.stats.compared) == (step, int(step == 0))
        run = open_run(tmp_path / "run")
        for name, _ in straight.frame.arrays:
            assert np.array_equal(run[name][:], straight[name][:], equal_nan=True)
        assert kept(tmp_path / "run") == [0, 1, 4, 9]


def test_a_step_that_is_kept_and_last_is_there_once(small_config: ExperimentConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(small_config, checkpoint_at="3,20,21", checkpoint_seconds=0)

    def interrupt(step: int, _: Tensor) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    run_experiment(config, tmp_path / "run", on_step=interrupt)
    assert kept(tmp_path / "run") == [3]
    # Asked for no more, it stays: only what was never asked for is replaced.
    other = dataclasses.replace(config, checkpoint_at="20")
    run_experiment(other, tmp_path / "run", resume=True)
    assert there(tmp_path / "run") == kept(tmp_path / "run") == [3, 20]


def test_info_lists_them_and_verify_reads_them(small_config: ExperimentConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(small_config, checkpoint_at="1,10")
    run_experiment(config, tmp_path / "run")
    run_experiment(small_config, tmp_path / "plain")
    invoke = CliRunner().invoke
    shown = invoke(embevo, ["info", str(tmp_path / "run")]).output
    assert "checkpoints  kept of step 1, 10; and of 20" in shown
    assert "checkpoints  of step 20 " in invoke(embevo, ["info", str(tmp_path / "plain")]).output
    told = json.loads(invoke(embevo, ["info", "--json", str(tmp_path / "run")]).output)
    assert (told["checkpoints"], told["kept_checkpoints"]) == ([1, 10, 20], [1, 10])
    assert invoke(embevo, ["verify", str(tmp_path / "run")]).exit_code == 0
    state = tmp_path / "run" / "checkpoints" / "step_0000010" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    found = invoke(embevo, ["verify", str(tmp_path / "run")])
    assert found.exit_code == 1
    assert "step_0000010" in found.output


@pytest.mark.parametrize("written", ["sometimes", "log", "1,,2", ""])
def test_steps_that_are_none_are_refused(small_config: ExperimentConfig, written: str) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint_at is .* is no schedule"):
        dataclasses.replace(small_config, checkpoint_at=written)
