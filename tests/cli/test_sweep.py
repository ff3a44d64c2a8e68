"""Sweeps: which runs a grid has, what becomes of each, and that disturbing them changes no bit."""

import dataclasses
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from embevo_cli.sweep_table import SweepTable
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from embevo.errors import ConfigError
from embevo.experiment import planned
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.grid import GridRun, load_grid
from embevo.experiment.sweep import Status, Sweep
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths
from embevo.run.planning import Machine, Plan
from embevo.run.reading.summary import summarize
from support.interpreters import interpreter
from support.sweeps import (
    TINY,
    UNTOLD,
    assert_as_if_alone,
    corpus_file,
    grid_file,
    halt,
    interrupted,
    last,
    pid_of,
    started,
    sweep_command,
    until,
)

Invoke = Callable[..., Any]
# Their checksums in names are the same, and so is what the names keep of them.
ALIKE = [f"/data/a-long-name-of-a-directory/{name}.txt" for name in ("aaa9", "1f8892")]
PAGE = Path(__file__).parents[2] / "docs" / "sweeps.md"


@pytest.fixture(autouse=True)
def trainings_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", interpreter())


def test_stopped_and_killed_at_any_place_a_sweep_ends_with_the_same_bits(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = grid_file(tmp_path, {"init": ["qwen", "normal"]}, corpus=str(corpus_file(tmp_path)))
    runs, out = load_grid(grid), tmp_path / "out"
    paths = [out / run.name for run in runs]
    # Ctrl-C, of the sweep alone.
    first = started(grid, out, "--jobs", "2")
    halted = [halt(path, first, at_step=5) for path in paths]
    # What becomes of them is said meanwhile.
    until(lambda: out.with_name("out.said").read_text().count("recording") >= 2, first)
    interrupted(first, out, halted)
    reached = [last(path) for path in paths]
    assert all(summarize(path).state == "complete" for path in paths), "not all is sealed"
    assert all(step < TINY["steps"] for step in reached)
    shown = json.loads(invoke("sweep", grid, "--out", out, "--status", "--json").stdout)["runs"]
    assert [status["state"] for status in shown] == ["interrupted", "interrupted"]
    # kill -9 of a worker, and then of the sweep.
    second = started(grid, out, "--jobs", "2")
    killed = halt(paths[0], second)
    shown = json.loads(invoke("sweep", grid, "--out", out, "--status", "--json").stdout)["runs"]
    assert (shown[0]["state"], shown[0]["step"]) == ("recording", last(paths[0]))
    assert shown[0]["reason"] == f"by process {killed} on {os.uname().nodename}"
    os.kill(killed, signal.SIGKILL)
    until(lambda: pid_of(paths[0]) not in (0, killed), second)
    orphan = halt(paths[0], second)
    second.kill()
    second.communicate()
    # What it has left behind is waited for: that goes on when it is found to be at work.
    is_written = Sweep.is_written

    def found(sweep: Sweep, run: GridRun) -> bool:
        writing = is_written(sweep, run)
        if writing and sweep.path(run) == paths[0]:
            os.kill(orphan, signal.SIGCONT)
        return writing

    monkeypatch.setattr(Sweep, "is_written", found)
    done = invoke("sweep", grid, "--out", out, "--jobs", "2")
    if done.exit_code:
        os.kill(orphan, signal.SIGKILL)
    assert done.exit_code == 0, done.output
    assert [status.state for status in Sweep(out, runs).statuses()] == ["complete", "complete"]
    assert "init" in done.output
    # All of them were measured in the end, and compared.
    assert all((path / "analysis.json").exists() for path in paths)
    assert "Cohen's d" in " ".join(done.output.split())
    # What became of them was shown meanwhile: a line for each change.
    for run in runs:
        said = re.findall(rf"^{re.escape(run.name)} +(\w+) .*", done.output, re.MULTILINE)
        assert said[-1] == "complete"
        assert all(one != other for one, other in itertools.pairwise(said))
    # As if nothing had happened.
    assert_as_if_alone(runs, out, tmp_path / "alone")
    # What is complete is not trained again.
    logs = [Sweep(out, runs).log(run).read_bytes() for run in runs]
    again = invoke("sweep", grid, "--out", out, "--no-analyze")
    assert again.exit_code == 0
    assert "Cohen's d" not in again.output
    assert [Sweep(out, runs).log(run).read_bytes() for run in runs] == logs
    other = invoke("sweep", grid, "--out", out, "--threads", "2")
    assert other.exit_code == 2
    assert "begun with 1 threads" in other.output


def test_a_run_that_fails_says_why_and_is_tried_again_when_asked(tmp_path: Path, invoke: Invoke) -> None:
    grid = grid_file(tmp_path, {"seed": [3]}, steps=20, corpus=str(tmp_path / "corpus.txt"))
    (run,) = load_grid(grid)
    sweep = Sweep(tmp_path / "out", [run])
    failed = invoke("sweep", grid, "--out", sweep.out)
    assert failed.exit_code == 1
    assert "FAILED: seed=3: " in failed.output
    assert "corpus.txt" in sweep.status(run).reason
    log = sweep.log(run).read_bytes()
    again = invoke("sweep", grid, "--out", sweep.out, "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["runs"] == [sweep.status(run).to_json()]
    assert sweep.log(run).read_bytes() == log, "it was tried again"
    corpus_file(tmp_path)
    assert invoke("sweep", grid, "--out", sweep.out, "--retry", "--no-analyze").exit_code == 0
    assert sweep.status(run).state == "complete"
    # Where the file system has no locks, a host that crashed leaves the name of its process.
    lock = RunPaths(sweep.path(run)).lock
    lock.write_text(json.dumps(UNTOLD))
    said = sweep.status(run)
    assert said.state == "unknown"
    assert said.reason.startswith("process 7 on node7 may still write it, which this machine cannot tell")
    assert f"remove {lock}" in said.reason
    lock.unlink()
    # Damage is found before it is taken for complete.
    for chunk in (sweep.path(run) / "trajectory.zarr" / "embeddings").glob("c*"):
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    assert sweep.status(run, verified=True).state == "failed"
    damaged = invoke("sweep", grid, "--out", sweep.out)
    assert damaged.exit_code == 1
    assert "embeddings" in damaged.output
    # So is a run of other settings.
    other = dataclasses.replace(run, config=dataclasses.replace(run.config, weight_decay=0.5))
    assert "weight_decay is 0.01 there and 0.5 in the grid" in sweep.status(other).reason


def test_where_no_directory_can_be_made_another_is_asked_for(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "file").write_text("")
    refused = invoke("sweep", grid_file(tmp_path, {"seed": [1]}), "--out", tmp_path / "file" / "out")
    assert refused.exit_code == 2
    assert re.search(r"cannot make .*file/out for the runs: Not a directory. .* with --out", refused.output)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/manifest").write_text("")
    refused = invoke("sweep", grid_file(tmp_path, {"seed": [1]}), "--out", tmp_path / "run")
    assert refused.exit_code == 2
    assert "run is a run, and the runs of a sweep lie side by side: choose another --out" in refused.output
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest"]


def test_two_sweeps_of_one_directory_do_not_meet(tmp_path: Path, invoke: Invoke) -> None:
    grid = grid_file(tmp_path, {"seed": [1, 2]})
    sweep = Sweep(tmp_path / "out", load_grid(grid))
    sweep.out.mkdir()
    lock = WriterLock(sweep.lock)
    refused = invoke("sweep", grid, "--out", sweep.out)
    assert refused.exit_code == 2
    assert f"process {os.getpid()}" in refused.output
    # To look is not forbidden, and changes nothing.
    looked = invoke("sweep", grid, "--out", sweep.out, "--status")
    assert looked.exit_code == 0
    assert looked.output.splitlines() == [f"{f'seed={seed}':<30} waiting      - of 1,000" for seed in (1, 2)]
    plan = invoke("sweep", grid, "--out", sweep.out, "--dry-run", "--rate", "0.1", "--jobs", "2")
    assert "2 of 2 runs to train, 2,000 steps: " in plan.output
    assert "; 2.8 hours at 0.2 steps a second." in plan.output
    assert invoke("sweep", grid, "--out", sweep.out, "--rate", "3").exit_code == 2
    assert [path.name for path in sweep.out.iterdir()] == ["sweep.lock"]
    lock.release()


def test_what_cannot_fit_on_the_disk_is_not_begun(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Machine.here

    def full(directory: Path) -> Machine:
        return dataclasses.replace(here(directory), free_disk=1)

    monkeypatch.setattr(Machine, "here", full)
    grid = grid_file(tmp_path, {"seed": [1, 2]})
    refused = invoke("sweep", grid, "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "2 runs take at least" in refused.output
    assert not list((tmp_path / "out").glob("seed*"))


def test_runs_that_differ_in_their_seed_alone_are_planned_once(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ExperimentConfig] = []
    plan_of = planned.plan_of

    def noted(config: ExperimentConfig) -> Plan:
        asked.append(config)
        return plan_of(config)

    monkeypatch.setattr(planned, "plan_of", noted)
    grid = grid_file(tmp_path, {"weight_decay": [0.1, 0.2], "seed": [*range(200)]})
    done = invoke("sweep", grid, "--out", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0
    assert "400 of 400 runs to train, 400,000 steps: " in done.output
    assert sorted(config.weight_decay for config in asked) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[grid]\nsede = [1]\n", "unknown setting 'sede'; did you mean seed?"),
        ("[grid]\nseed = [1]\n[fixed]\nstpes = 3\n", "did you mean steps?"),
        ("[grid]\nseed = 1\n", r"must be a list of values.*\[fixed\]"),
        ("[grid]\nseed = []\n", "must be a list of values"),
        ("[grid]\nseed = [1, 1]\n", "has 1 twice"),
        ("[grid]\nseed = [1]\n[fixed]\nseed = 2\n", r"in \[grid\] and in \[fixed\]"),
        ("[grid]\nseed = ['a']\n", "must be a whole number"),
        ("[girds]\nseed = [1]\n", "'girds' is neither of the tables"),
        ("seed = [1]\n", "'seed' is neither of the tables"),
        ("[fixed]\nseed = 1\n", r"has no \[grid\]"),
        ("[grid\n", "is not TOML"),
        (
            f"[grid]\ncorpus = ['{ALIKE[0]}', '{ALIKE[1]}']\n",
            "are two runs of one name: write a value otherwise",
        ),
        (f"[grid]\nseed = {[*range(400)]}\nsteps = {[*range(1, 401)]}\n", "160,000 runs.* at most 100,000"),
    ],
)
def test_a_grid_that_is_none_is_refused_before_anything_runs(
    tmp_path: Path, invoke: Invoke, text: str, said: str
) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_grid(grid)
    assert invoke("sweep", grid, "--out", tmp_path / "out").exit_code == 2
    assert not (tmp_path / "out").exists()


@given(
    st.lists(st.text(max_size=60).filter(lambda text: "\0" not in text), min_size=1, max_size=5, unique=True),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=4, unique=True),
)
def test_every_run_has_a_plain_name_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, corpora: list[str], seeds: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("grid")
    runs = load_grid(grid_file(folder, {"corpus": corpora, "seed": seeds}))
    assert len({run.name for run in runs}) == len(runs) == len(corpora) * len(seeds)
    assert all(re.fullmatch(r"[A-Za-z0-9.+,=_~-]{1,120}", run.name) for run in runs)
    # Every corpus with the same seeds, and the settings that are said.
    assert [(run.config.corpus, run.config.seed) for run in runs] == [
        (corpus, seed) for corpus in corpora for seed in seeds
    ]
    assert all(run.config.dim == TINY["dim"] for run in runs)


def test_the_name_of_a_run_of_many_settings_is_one_that_a_directory_can_have(tmp_path: Path) -> None:
    numbers = ("learning_rate", "init_sigma", "weight_decay", "sync_seconds", "budget")
    varied = {name: [0.1234567890123456, 0.1234567890123457] for name in numbers}
    grid = grid_file(tmp_path, {"corpus": ["x/" * 50], **varied, "seed": [1, 2]})
    names = [run.name for run in load_grid(grid)]
    assert len({*names}) == len(names) == 64
    assert {len(name) for name in names} == {200}


def test_a_terminal_shows_the_states_of_now_in_a_table() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    status = Status("seed=1", "/out/seed=1", "waiting", None, 1000, "")
    with SweepTable(console) as table:
        for step in (7, 1000):
            table.show([dataclasses.replace(status, state="recording", step=step), status])
            assert f"{step:,} of 1,000" in console.file.getvalue()
            assert "1 recording" in console.file.getvalue()


def test_states_are_those_of_the_disk(tmp_path: Path) -> None:
    (run,) = load_grid(grid_file(tmp_path, {"seed": [1]}))
    sweep = Sweep(tmp_path, [run])
    assert sweep.status(run) == Status(run.name, str(tmp_path / run.name), "waiting", None, 1000, "")
    assert ExperimentConfig.from_mapping(run.config.to_mapping()) == run.config


def test_the_example_of_the_page_runs(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text()
    ((grid, command),) = re.findall(
        r"<!-- test: grid -->\n```toml\n(.*?)```.*?<!-- test: sweep -->\n```sh\nembevo (.*?)\n```",
        text,
        re.DOTALL,
    )
    (tmp_path / "grid.toml").write_text(grid)
    name, *words = command.split()
    assert name == "sweep"
    done = subprocess.run(sweep_command(*words), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(r"<!-- test: status -->\n```text\n(.*?)```", text, re.DOTALL)
    looked = subprocess.run(
        sweep_command(words[0], "--status"), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert looked.stdout == shown
    ((plan, first),) = re.findall(
        r"<!-- test: plan -->\n```sh\nembevo (.*?)\n```.*?<!-- test: planned -->\n```text\n(.*?)```",
        text,
        re.DOTALL,
    )
    monkeypatch.chdir(tmp_path)
    assert invoke(*plan.split()).stdout.startswith(first)
