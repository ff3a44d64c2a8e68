"""Sweeps whose trainings fail or whose workers cannot train, and runs that nobody can tell to be written."""

import dataclasses
import errno
import fcntl
import itertools
import json
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from embevo_cli import sweep_workers, sweeping
from embevo_cli.sweep_workers import Workers, local_workers
from embevo_cli.sweeping import Conductor

from embevo.errors import SweepError, WeakerPromiseWarning
from embevo.experiment.attempt import libraries
from embevo.experiment.grid import load_grid
from embevo.experiment.sweep import Status, Sweep
from embevo.recording.recorder import Recorder
from embevo.run.disk.lock import WriterLock
from embevo.run.disk.process import this_process
from embevo.run.paths import RunPaths
from support.interpreters import interpreter
from support.sweeps import UNTOLD, Elsewhere, corpus_file, grid_file, program

Invoke = Callable[..., Any]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"session": "/elsewhere/session"}, "does not see .*/out, or sees another directory"),
        ({"libraries": {**libraries(), "embevo": "0.0"}}, "the sweep embevo 0.0: other versions"),
    ],
)
def test_who_cannot_train_ends_the_sweep_and_fails_no_run(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1, 2]})))
    with Elsewhere(**other) as executor:
        workers = Workers("elsewhere", executor, lambda: 1, 1)
        with pytest.raises(SweepError, match=f"{said}.* the same command goes on"):
            Conductor(sweep, workers, threads=1, resumes=5).train(sweep.runs, lambda: False)
    assert {status.state for status in sweep.statuses()} == {"waiting"}
    assert not list(sweep.folder.glob("session-*"))


def test_a_training_that_is_killed_again_and_again_has_failed(tmp_path: Path) -> None:
    killer = program(tmp_path, "echo begun\nkill -9 $$")
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1, 2]})))
    with Elsewhere(python=killer) as executor:
        Conductor(sweep, Workers("elsewhere", executor, lambda: 1, 1), threads=1, resumes=1).train(
            sweep.runs, lambda: False
        )
    for run, status in zip(sweep.runs, sweep.statuses(), strict=True):
        assert status.state == "failed"
        assert status.reason == "its process was killed by SIGKILL, the last of 2 times"
        assert sweep.log(run).read_text() == "begun\nbegun\n"


def test_without_locks_a_run_that_somebody_may_write_is_left_and_what_is_advised_works(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(sys, "executable", interpreter())
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(sweeping, "_DOUBT_SECONDS", 0)
    grid = grid_file(tmp_path, {"seed": [1, 2]}, steps=3, corpus=str(corpus_file(tmp_path)))
    sweep = Sweep(tmp_path / "out", load_grid(grid))
    paths = [RunPaths(sweep.path(run)) for run in sweep.runs]
    for place in paths:
        place.root.mkdir(parents=True)
    paths[0].lock.write_text(json.dumps(UNTOLD))
    # This one is known to be gone, and other machines need not know it.
    paths[1].lock.write_text(json.dumps({**this_process(), "started": "1", "kept_by": "file"}))
    command = ("sweep", grid, "--out", sweep.out, "--no-analyze")
    with pytest.warns(WeakerPromiseWarning):
        left = invoke(*command)
    assert left.exit_code == 1
    states = [status.state for status in sweep.statuses()]
    assert states == ["unknown", "complete"]
    (said,) = re.findall(r"UNKNOWN: seed=1: process 7 on node7 may .* remove (\S+), and", left.output)
    assert said == str(paths[0].lock)
    assert not paths[0].manifest.exists()
    looked = invoke("sweep", grid, "--out", sweep.out, "--status")
    assert looked.exit_code == 1
    assert f"remove {said}" in looked.output
    Path(said).unlink()
    with pytest.warns(WeakerPromiseWarning):
        assert invoke(*command).exit_code == 0


def test_a_lock_that_is_known_to_be_left_is_not_there_for_who_cannot_tell(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
    (run,) = sweep.runs
    sweep.path(run).mkdir(parents=True)
    lock = RunPaths(sweep.path(run)).lock
    lock.write_text(json.dumps({**this_process(), "started": "1", "kept_by": "file"}))
    ends = program(tmp_path, f"test -e {lock} && echo it is there || echo it is gone; exit 3")
    with Elsewhere(python=ends) as executor:
        Conductor(sweep, Workers("elsewhere", executor, lambda: 1, 1), threads=1, resumes=0).train(
            [run], lambda: False
        )
    assert sweep.status(run).reason == "it is gone"


class Clock:
    """Stands for the module ``time`` where a sweep waits: time passes while it sleeps."""

    def __init__(self, asleep: Callable[[int], None]) -> None:
        self.asleep, self.slept, self.now = asleep, 0, 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _: float) -> None:
        self.slept += 1
        self.now += 10
        self.asleep(self.slept)


def test_who_writes_a_run_is_waited_for_as_long_as_it_lives_or_gets_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
    (run,) = sweep.runs
    sweep.path(run).mkdir(parents=True)
    lock = RunPaths(sweep.path(run)).lock
    conductor = Conductor(sweep, Workers("nobody", ThreadPoolExecutor(), lambda: 1, 1), threads=1, resumes=1)

    def end(slept: int) -> None:
        if slept == 30:
            held.release()
            sweep.fail(run, "seen")

    held, clock = WriterLock(lock), Clock(end)
    monkeypatch.setattr(sweeping, "time", clock)
    conductor.train([run], lambda: False)
    assert clock.slept == 30
    # A process that may live gets further, and then no more.
    lock.write_text(json.dumps(UNTOLD))
    status, steps = sweep.status(run), [0]

    def further(slept: int) -> None:
        steps[0] = min(slept, 20)

    clock = Clock(further)
    monkeypatch.setattr(sweeping, "time", clock)
    monkeypatch.setattr(Sweep, "status", lambda *_: dataclasses.replace(status, step=steps[0]))
    conductor.train([run], lambda: False)
    assert clock.slept == 20 + sweeping._DOUBT_SECONDS / 10
    assert json.loads(lock.read_text()) == UNTOLD


class Dying(ThreadPoolExecutor):
    """Who take an order die of it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(ProcessLookupError("worker 7"))
        return future


def test_a_run_whose_workers_die_is_given_out_again_and_fails_in_the_end(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
    with Dying() as executor:
        workers = Workers("those", executor, lambda: 1, 1, died=(ProcessLookupError,))
        Conductor(sweep, workers, threads=1, resumes=2).train(sweep.runs, lambda: False)
        reason = "ProcessLookupError: worker 7, the last of 3 times"
        assert sweep.status(sweep.runs[0]).reason == reason
        sweep.retry(sweep.runs[0])
        other = dataclasses.replace(workers, died=())
        with pytest.raises(SweepError, match=r"those cannot train seed=1: ProcessLookupError.* same command"):
            Conductor(sweep, other, threads=1, resumes=2).train(sweep.runs, lambda: False)
    assert sweep.status(sweep.runs[0]).state == "waiting"


def test_what_a_terminal_tells_trainings_too_is_not_held_against_them(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
    (run,) = sweep.runs
    with Elsewhere(python=program(tmp_path, "exit 130")) as executor:
        workers = Workers("elsewhere", executor, lambda: 1, 1)
        Conductor(sweep, workers, threads=1, resumes=0).train([run], sweep.log(run).exists)
    assert sweep.status(run).state == "waiting"


@pytest.mark.parametrize(("end", "attempts"), [("kill -9 $$", 2), ("exit 143", 7)])
def test_to_be_told_to_end_counts_only_where_it_got_no_further_and_to_be_killed_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, attempts: int
) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
    (run,) = sweep.runs
    looks = itertools.count()

    def status(*_: object) -> Status:
        # Each look sees it one step further, up to step 9.
        return Status(run.name, "", "interrupted", min(next(looks), 9), 1000, "")

    with (
        monkeypatch.context() as patched,
        Elsewhere(python=program(tmp_path, f"echo begun; {end}")) as executor,
    ):
        patched.setattr(Sweep, "status", status)
        Conductor(sweep, Workers("elsewhere", executor, lambda: 1, 1), threads=1, resumes=1).train(
            [run], lambda: False
        )
    assert sweep.log(run).read_text() == "begun\n" * attempts
    assert sweep.status(run).reason.endswith(", the last of 2 times")


def test_a_run_goes_on_with_as_many_threads_as_it_was_begun_with(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
    (run,) = sweep.runs
    attributes = {"config": run.config.to_kept(), "environment": {"threads": "3"}}
    with Recorder(sweep.path(run), {"embeddings": torch.zeros(2, 2)}, attributes=attributes) as recorder:
        recorder.capture(0)
    assert sweep.status(run).state == "interrupted"
    with Elsewhere(python=program(tmp_path, "echo $OMP_NUM_THREADS threads; exit 3")) as executor:
        Conductor(sweep, Workers("elsewhere", executor, lambda: 1, 1), threads=1, resumes=1).train(
            [run], lambda: False
        )
    assert sweep.status(run).reason == "3 threads"


def test_the_reason_of_a_failure_is_of_the_last_attempt(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
    (run,) = sweep.runs
    for said, reason in (
        ("Error: no corpus", "no corpus"),
        ("boom", "boom"),
        ("", f"it ended with 3 and said nothing: see {sweep.log(run)}"),
    ):
        ends = program(tmp_path, f"{f'echo {said}' if said else ''}\nexit 3")
        sweep.retry(run)
        with Elsewhere(python=ends) as executor:
            Conductor(sweep, Workers("elsewhere", executor, lambda: 1, 1), threads=1, resumes=1).train(
                [run], lambda: False
            )
        assert (sweep.status(run).state, sweep.status(run).reason) == ("failed", reason)
    (sweep.folder / f"{run.name}.failed").write_bytes(b"")
    assert sweep.status(run).reason == f"why was not kept: see {sweep.log(run)}"


def test_what_is_taken_from_a_sweep_at_work_ends_it_in_words(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1, 2]})))
    for line, said in (
        (f"rm {sweep.folder}/session-*; exit 143", "session-.* was removed while the sweep was at work"),
        (f"rm -r {sweep.folder}; exit 3", "seed=1.failed: No such file or directory"),
    ):
        with Elsewhere(python=program(tmp_path, line)) as executor:
            workers = Workers("elsewhere", executor, lambda: 1, 1)
            with pytest.raises(SweepError, match=f"{said}.* the same command goes on"):
                Conductor(sweep, workers, threads=1, resumes=5).train(sweep.runs, lambda: False)
    assert [status.state for status in sweep.statuses()] == ["waiting", "waiting"]


@pytest.mark.parametrize(("cores", "jobs", "each"), [(8, 3, 2), (2, 2, 1), (2, 5, 1), (7.9, 1, 7)])
def test_cores_are_divided_among_the_processes_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: float, jobs: int, each: int
) -> None:
    monkeypatch.setattr(sweep_workers, "available_cores", lambda: SimpleNamespace(amount=cores))
    with local_workers(jobs) as workers:
        assert (workers.at_once(), workers.threads) == (jobs, each)
        # Who cannot start a training, with so many threads.
        sweep = Sweep(tmp_path / "out", load_grid(grid_file(tmp_path, {"seed": [1]})))
        ends = program(tmp_path, "echo Error: $OMP_NUM_THREADS threads\nexit 3")
        there = dataclasses.replace(workers, python=ends)
        kept = sweep.threads(None, there.threads)
        Conductor(sweep, there, threads=kept, resumes=0).train(sweep.runs, lambda: False)
    assert sweep.status(sweep.runs[0]).reason == f"{each} threads"
    assert sweep.kept_threads == each
