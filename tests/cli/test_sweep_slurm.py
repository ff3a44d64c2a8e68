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
        ((*LOCAL, "--slurm-option", "timeout_min=-3"), "timeout_min=-3: a job takes at least a minute"),
        (("--slurm", "--slurm-option", "cluster=nowhere"), "named nowhere. Start the sweep where"),
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


@pytest.mark.parametrize(
    ("options", "jobs", "threads", "expected"),
    [
        ((), None, None, (sys.maxsize, 1)),
        ((), 3, 4, (3, 4)),
        (("cpus_per_task=6",), 2, None, (2, 6)),
    ],
)
def test_a_job_gets_the_cores_that_its_training_has_threads(
    tmp_path: Path, options: tuple[str, ...], jobs: int | None, threads: int | None, expected: tuple[int, int]
) -> None:
    asked = ("cluster=local", "timeout_min=1", *options)
    with sweep_slurm.slurm_workers(asked, jobs, threads, tmp_path) as workers:
        assert (workers.at_once(), workers.threads) == expected
        assert workers.executor._jobs.parameters["cpus_per_task"] == expected[1]


class Late:
    """A job that has ended, whose result comes to be seen when it has been looked for so many times."""

    def __init__(self, looks: int, result: object) -> None:
        self.looks, self.outcome = looks, result
        self.state, self.job_id = "COMPLETED", "7"
        self.paths = SimpleNamespace(result_pickle=SimpleNamespace(exists=self.seen), stderr="7.err")

    def done(self, *, force_check: bool) -> bool:
        return True

    def seen(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def result(self) -> object:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_a_result_that_is_seen_late_is_waited_for_and_one_that_never_comes_is_a_lost_job() -> None:
    late = sweep_slurm._JobFuture(Late(1, "trained"))
    assert not late.settle(ask=False)
    assert late.settle(ask=False)
    assert late.result() == "trained"
    failed = sweep_slurm._JobFuture(Late(0, ValueError("of the job")))
    assert failed.settle(ask=False)
    with pytest.raises(ValueError, match="of the job"):
        failed.result()
    never = sweep_slurm._JobFuture(Late(99, None))
    assert not never.settle(ask=False)
    never._ended_at = -sweep_slurm._GRACE_SECONDS
    assert never.settle(ask=False)
    with pytest.raises(
        sweep_slurm.JobLostError, match=r"job 7 ended as COMPLETED and left no result: see 7\."
    ):
        never.result()
