"""What the experiment records beside the weights: arrays, chosen tokens, schedules, kills and resuming."""

import dataclasses
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from embevo import open_run
from embevo.errors import ConfigError, DivergedError, ResumeError
from embevo.experiment.arrays import ARRAYS, WEIGHTS, parse_record, recorded_frame
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus
from embevo.experiment.loop import TrainingLoop
from embevo.experiment.record import run_experiment
from embevo.experiment.sources import sources_of_loop
from embevo.recording.framing import frame_of, likeness
from embevo.recording.sources import sources_of
from embevo.run.format.schedule import at, log_spaced
from embevo.run.format.token_subset import TokenSubset
from support.interpreters import interpreter

EVERYTHING = ",".join(ARRAYS)
MOMENTS = ("exp_avg", "exp_avg_sq")

# Dies without a word at a step: before its optimizer, after that and before its capture, or after that.
DIES = """
import os, signal, sys
from pathlib import Path
from embevo.experiment.config import ExperimentConfig, load_settings
from embevo.experiment.loop import TrainingLoop
from embevo.experiment.record import run_experiment
from embevo.recording.recorder import Recorder
config, run, at, moment, how = sys.argv[1:]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
advance, before_step, capture = TrainingLoop.advance, Recorder.before_step, Recorder.capture
loops = []
def advancing(loop, before_update=None):
    def before():
        before_update()
        if loop.global_step + 1 == int(at) and moment == "before the update":
            die()
    result = advance(loop, before if before_update is not None else None)
    if loop.global_step == int(at) and moment == "before the capture":
        die()
    return result
def capturing(recorder, step, *args, **kwargs):
    capture(recorder, step, *args, **kwargs)
    if step == int(at) and moment == "after the capture":
        die()
TrainingLoop.advance, Recorder.capture = advancing, capturing
run_experiment(ExperimentConfig.from_mapping(load_settings(Path(config))), Path(run), resume=how == "resume")
"""


def files_of(run_dir: Path) -> dict[str, bytes]:
    """Every file that holds results."""
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for part in ("trajectory.zarr", "snapshots", "checkpoints")
        for path in (run_dir / part).rglob("*")
        if path.is_file()
    }


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same bits, NaN included."""
    return one.dtype == other.dtype and torch.equal(
        one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)
    )


def copies(config: ExperimentConfig, corpus: Corpus) -> list[dict[str, Tensor]]:
    """A plain copy of every array after every step, taken by hand."""
    loop = TrainingLoop(config, corpus)
    seen: dict[str, Tensor] = {}

    def look(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        hidden = args[0].detach().double().reshape(-1, config.dim)
        seen["hidden_mean"] = hidden.mean(0)
        seen["hidden_var"] = hidden.var(0, correction=0)
        seen["logits"] = output.detach().double().reshape(-1, config.vocab_size).mean(0)

    def gradient() -> None:
        assert loop.embedding.grad is not None
        seen["embeddings.grad"] = loop.embedding.grad.clone()

    loop.model.lm_head.register_forward_hook(look)
    rows = [{"embeddings": loop.embedding.detach().clone()}]
    for _ in range(config.steps):
        seen.clear()
        loop.advance(gradient)
        state = loop.optimizer.state[loop.embedding]
        moments = {f"embeddings.{key}": state[key].clone() for key in MOMENTS}
        rows.append(seen | moments | {"embeddings": loop.embedding.detach().clone()})
    return rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_array_is_what_the_loop_held_at_its_moment(
    small_config: ExperimentConfig, small_corpus: Corpus, tmp_path: Path, dtype: str
) -> None:
    config = ExperimentConfig.from_mapping(
        small_config.to_mapping() | {"record": EVERYTHING, "dtype": dtype, "init": "normal"}
    )
    run_experiment(config, tmp_path / "run")
    held = copies(config, small_corpus)
    run = open_run(tmp_path / "run")
    assert {name for name, _ in run.frame.arrays} == set(ARRAYS.values())
    for step, row in enumerate(held):
        stored = load_file(tmp_path / "run" / "snapshots" / f"step_{step:07d}.safetensors")
        for name in ARRAYS.values():
            assert np.array_equal(
                np.asarray(run[name][step], np.float32), stored[name].float().numpy(), equal_nan=True
            )
            if name not in row:
                assert step == 0
                assert stored[name].isnan().all()
            elif name.startswith("embeddings"):
                assert same(stored[name], row[name]), (name, step)
            else:
                assert stored[name].dtype == torch.float32
                assert torch.allclose(stored[name].double(), row[name], rtol=1e-6, atol=1e-9), (name, step)


def test_recording_more_changes_no_weight(small_config: ExperimentConfig, tmp_path: Path) -> None:
    run_experiment(small_config, tmp_path / "plain")
    run_experiment(dataclasses.replace(small_config, record=EVERYTHING), tmp_path / "all")
    plain, everything = open_run(tmp_path / "plain"), open_run(tmp_path / "all")
    assert np.array_equal(plain["embeddings"][:], everything["embeddings"][:])
    assert np.array_equal(plain["loss"][:], everything["loss"][:], equal_nan=True)
    # A run of weights alone is the format that it has always been, and knows nothing of newer settings.
    assert plain.frame.is_plain
    newer = {"record", "tokens", "schedule"}
    assert not newer & plain.config.keys()
    assert not newer & plain.attributes["experiment"]["settings"].keys()
    assert everything.config["record"] == EVERYTHING


# The fixtures are only read.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.sampled_from(sorted(ARRAYS)), min_size=1),
    st.sampled_from(["float32", "bfloat16"]),
    st.none() | st.sets(st.integers(0, 127), min_size=1),
)
def test_the_frame_is_known_before_there_is_a_model(
    small_config: ExperimentConfig, small_corpus: Corpus, names: set[str], dtype: str, ids: set[int] | None
) -> None:
    record = ",".join({*names, WEIGHTS})
    config = ExperimentConfig.from_mapping(small_config.to_mapping() | {"record": record, "dtype": dtype})
    loop = TrainingLoop(config, small_corpus)
    sources = sources_of_loop(loop, config)
    subset = None if ids is None else TokenSubset.of(sorted(ids), 128)
    taken = sources_of(sources.taken)
    likes = {name: likeness(name, take) for name, take in taken.items()}
    expected = frame_of(likes, ("loss", "learning_rate"), sources.dimensions, subset)
    assert recorded_frame(parse_record(config.record), (128, 16), dtype, tokens=subset) == expected
    sources.close()
    modules = list(loop.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


@pytest.mark.parametrize("written", ["dead,a-c", "65", "0-127"])
def test_chosen_tokens_are_those_rows_of_all(
    small_config: ExperimentConfig, small_corpus: Corpus, tmp_path: Path, written: str
) -> None:
    config = dataclasses.replace(small_config, record=EVERYTHING, steps=5)
    run_experiment(config, tmp_path / "all")
    run_experiment(dataclasses.replace(config, tokens=written), tmp_path / "some")
    ids = {"dead,a-c": sorted({*small_corpus.dead_ids, 97, 98, 99}), "65": [65], "0-127": list(range(128))}
    chosen = [int(token) for token in ids[written]]
    everything, some = open_run(tmp_path / "all"), open_run(tmp_path / "some")
    assert some.frame.token_ids.tolist() == chosen
    for name in ARRAYS.values():
        whole = np.asarray(everything[name][:])
        rows = whole if name.startswith("hidden") else whole[:, chosen]
        assert np.array_equal(np.asarray(some[name][:]), rows, equal_nan=True)
    assert some.tokens is not None
    assert some.tokens.count.tolist() == small_corpus.token_count[chosen].tolist()


def test_a_schedule_records_its_steps_the_first_and_the_last(
    small_config: ExperimentConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_config, record=EVERYTHING)
    run_experiment(config, tmp_path / "all")
    run_experiment(dataclasses.replace(config, schedule="log:4+7"), tmp_path / "some")
    steps = sorted({*log_spaced(4).up_to(20), 7, 20})
    everything, some = open_run(tmp_path / "all"), open_run(tmp_path / "some")
    assert some.steps.tolist() == steps
    assert some.layout.schedule == log_spaced(4) | at([7]) | at([0, 20])
    for name in ARRAYS.values():
        # What hooks saw at steps that are not recorded is not mixed into those that are.
        assert np.array_equal(
            np.asarray(some[name][:]), np.asarray(everything[name][:])[steps], equal_nan=True
        )


def test_every_is_the_schedule_every(small_config: ExperimentConfig, tmp_path: Path) -> None:
    assert dataclasses.replace(small_config, schedule="every:8") == dataclasses.replace(small_config, every=8)
    run_experiment(dataclasses.replace(small_config, schedule="every:8"), tmp_path / "run")
    assert open_run(tmp_path / "run").steps.tolist() == [0, 8, 16, 20]
    assert open_run(tmp_path / "run").config["every"] == 8


def test_killed_at_any_moment_and_resumed_the_files_are_the_same(
    small_config: ExperimentConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_config, record=EVERYTHING, checkpoint_every=5, dtype="float32")
    (tmp_path / "config.toml").write_text(config.to_toml())
    kills = [
        (7, "before the update", "new"),
        (8, "before the capture", "resume"),
        # Among the steps that are compared with what the run holds.
        (6, "before the update", "resume"),
        (13, "after the capture", "resume"),
    ]
    for step, moment, how in kills:
        paths = [str(tmp_path / "config.toml"), str(tmp_path / "run")]
        command = [interpreter(), "-c", DIES, *paths, str(step), moment, how]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    summary = run_experiment(config, tmp_path / "run", resume=True)
    assert (summary.first_step, summary.stats.compared) == (10, 3)
    run_experiment(config, tmp_path / "straight")
    assert files_of(tmp_path / "run") == files_of(tmp_path / "straight")


def stopped(config: ExperimentConfig, run: Path, at_step: int) -> None:
    def interrupt(step: int, _: Tensor) -> None:
        if step == at_step:
            os.kill(os.getpid(), signal.SIGTERM)

    run_experiment(config, run, on_step=interrupt)


@pytest.mark.parametrize("what", ["embeddings.grad", "embeddings.exp_avg", "embeddings.exp_avg_sq"])
def test_one_bit_of_gradient_or_moments_is_told_where_steps_run_again(
    small_config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    config = dataclasses.replace(small_config, record=EVERYTHING, checkpoint_seconds=0)
    stopped(config, tmp_path / "run", at_step=9)
    exact = TrainingLoop.advance

    def advance(loop: TrainingLoop, before_update: object = None) -> tuple[Tensor, float]:
        def flip(tensor: Tensor) -> None:
            with torch.no_grad():
                tensor.view(torch.int16)[3, 2] ^= 1

        def before() -> None:
            assert callable(before_update)
            gradient = loop.embedding.grad
            if what == "embeddings.grad" and loop.global_step == 3 and gradient is not None:
                flip(gradient)
                before_update()
                flip(gradient)
            else:
                before_update()

        result = exact(loop, before)
        if what != "embeddings.grad" and loop.global_step == 4:
            flip(loop.optimizer.state[loop.embedding][what.rpartition(".")[2]])
        return result

    monkeypatch.setattr(TrainingLoop, "advance", advance)
    with pytest.raises(DivergedError, match=rf"step 4 diverged: {what} of token 3 \(and of 0 more"):
        run_experiment(config, tmp_path / "run", resume=True)


def test_resuming_with_other_arrays_tokens_or_steps_is_refused_by_name(
    small_config: ExperimentConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_config, record="weights,grad", tokens="dead,a", schedule="log:5")
    stopped(config, tmp_path / "run", at_step=9)
    before = files_of(tmp_path / "run")
    other = dataclasses.replace(config, record="weights", tokens="all", schedule="every", every=2)
    with pytest.raises(ResumeError) as refused:
        run_experiment(other, tmp_path / "run", resume=True)
    for text in (
        "record was 'weights,grad' and is 'weights'",
        "tokens was 'dead,a' and is 'all'",
        "schedule was 'log:5' and is 'every'",
        "every was 1 and is 2",
    ):
        assert text in str(refused.value)
    assert files_of(tmp_path / "run") == before
    assert run_experiment(config, tmp_path / "run", resume=True).last_step == 20


def test_tokens_that_a_corpus_does_not_have_leave_nothing(
    small_config: ExperimentConfig, tmp_path: Path
) -> None:
    path = tmp_path / "full.txt"
    path.write_bytes(bytes(range(128)) * 20)
    config = dataclasses.replace(small_config, corpus=str(path), tokens="dead")
    with pytest.raises(ConfigError, match="has no such token"):
        run_experiment(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_hooks_see_what_they_see_otherwise(small_config: ExperimentConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        small_config, record=EVERYTHING, dtype="float32", init="normal", steps=3, schedule="0,2"
    )
    run_experiment(config, tmp_path / "plain")
    run_experiment(dataclasses.replace(config, compile=True), tmp_path / "compiled")
    plain, compiled = open_run(tmp_path / "plain"), open_run(tmp_path / "compiled")
    for name in ARRAYS.values():
        assert np.allclose(plain[name][1:], compiled[name][1:], atol=1e-4), name
        assert np.isfinite(np.asarray(compiled[name][1:])).all()
