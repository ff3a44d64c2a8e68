"""Sweeps that are trained in jobs, by submitit's executor for this machine, and by commands that stand for
Slurm's."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from embevo_cli import sweep_slurm
from submitit.local import local

from embevo.experiment.grid import load_grid
from support import slurm
from support.interpreters import interpreter
from support.sweeps import assert_as_if_alone, corpus_file, grid_file, has_ended, last, pid_of

Invoke = Callable[..., Any]
PYTHON = sys.executable
LOCAL = ("--slurm", "--slurm-option", "cluster=local", "--slurm-option", "timeout_min=60")


def job_of(path: Path) -> int:
    """The process of the job that has a run trained; 0 if there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--while-process" in words and str(path).encode() in words:
            return int(words[words.index(b"--while-process") + 1])
    return 0


def eventually(found: Callable[[], int]) -> int:
    """What is found in the end."""
    end = time.monotonic() + 120
    while not (value := found()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.03)
    return value


def halted(path: Path, after: int) -> tuple[int, int]:
    """Stop the training of a run beyond a step; its process, and that of its job."""
    eventually(lambda: bool(pid_of(path)) and last(path) > after)
    os.kill(pid_of(path), signal.SIGSTOP)
    return pid_of(path), job_of(path)


def test_whatever_happens_to_jobs_a_sweep_ends_with_the_same_bits(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter())
    monkeypatch.setattr(sweep_slurm, "_GRACE_SECONDS", 0.1)
    monkeypatch.setenv("PATH", f"{slurm.install(tmp_path / 'slurm', held=(2,))}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    grid = grid_file(tmp_path, {"init": ["qwen", "normal"]}, corpus=str(corpus_file(tmp_path)), steps=600)
    runs, out = load_grid(grid), tmp_path / "out"
    path = out / runs[0].name
    seen: list[object] = []

    def meddle() -> None:
        try:
            # The warning before the job's time is over: the training is sealed, another job goes on.
            training, job = halted(path, 5)
            os.kill(job, signal.SIGUSR2)
            os.kill(training, signal.SIGCONT)
            eventually(lambda: pid_of(path) not in (0, training))
            # kill -9 of a job: the training ends with it, another goes on.
            training, job = halted(path, last(path))
            os.kill(job, signal.SIGKILL)
            os.kill(training, signal.SIGCONT)
            eventually(lambda: pid_of(path) not in (0, training))
            seen.append(slurm.states(tmp_path / "slurm"))
            # Ctrl-C, with another job queued.
            training, _ = halted(path, last(path))
            os.kill(os.getpid(), signal.SIGINT)
            eventually(lambda: has_ended(out))
            os.kill(training, signal.SIGCONT)
        except (AssertionError, OSError) as error:
            seen.append(error)
            os.kill(os.getpid(), signal.SIGINT)

    meddler = threading.Thread(target=meddle)
    meddler.start()
    words = ("sweep", grid, "--out", out, "--no-analyze")
    stopped = invoke(
        *words, "--slurm", "--slurm-option", "timeout_min=60", "--slurm-option", "partition=long"
    )
    meddler.join()
    # The second was queued from the beginning, the first came again twice.
    assert seen == [{1: "COMPLETED", 2: "PENDING", 3: "COMPLETED", 4: "RUNNING"}]
    assert stopped.exit_code == 128 + signal.SIGINT, stopped.output
    assert slurm.states(tmp_path / "slurm")[2] == "CANCELLED"
    script = (tmp_path / "slurm/script.1").read_text()
    assert {"time=60", "partition=long", "cpus-per-task=1"} <= set(re.findall(r"#SBATCH --(\S+)", script))
    # The same command goes on, whoever takes the jobs; submitit's own knows them by their processes.
    monkeypatch.setattr(local, "sys", SimpleNamespace(executable=PYTHON))
    done = invoke(*words, *LOCAL)
    assert done.exit_code == 0, done.output
    assert_as_if_alone(runs, out, tmp_path / "alone")


def test_what_a_job_cannot_have_is_refused(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = grid_file(tmp_path, {"seed": [1]})
    words = ("sweep", grid, "--out", tmp_path / "out")
    for options, said in (
        (LOCAL[:3], "timeout_min=MINUTES"),
        ((*LOCAL, "--slurm-option", "partitoin=long"), "Unknown argument 'partitoin'"),
        ((*LOCAL, "--slurm-option", "timeout_min"), "is not KEY=VALUE"),
        ((*LOCAL, "--slurm-option", "nodes=2"), "one process on one node"),
        ((*LOCAL, "--dask", "tcp://127.0.0.1:1"), "give one of them"),
        (("--slurm-option", "time=3"), "--slurm-option is for --slurm"),
    ):
        refused = invoke(*words, *options)
        assert refused.exit_code == 2
        assert said in refused.output
    monkeypatch.setenv("PATH", str(tmp_path))
    nowhere = invoke(*words, "--slurm", "--slurm-option", "time=60")
    assert nowhere.exit_code == 2
    assert "cluster=local" in nowhere.output
