"""Sweeps of tiny trainings, as processes of their own, and what is done to those that train."""

import dataclasses
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from embevo import open_run
from embevo.experiment.grid import GridRun
from embevo.experiment.record import run_experiment
from embevo.run.disk.lock import writer_of
from embevo.run.paths import RunPaths
from support.interpreters import interpreter

# The trainings of the sweep are forks of the tests' server, as the sweep is.
MAIN = "import sys; sys.executable = {python!r}; from embevo_cli.main import main; main()"
TINY = {
    "steps": 1000,
    "dtype": "float32",
    "dim": 8,
    "heads": 1,
    "layers": 1,
    "context": 8,
    "batch": 2,
    "device": "cpu",
    "store": "zarr",
    "checkpoint_every": 100,
    "checkpoint_seconds": 0.0,
}

# Whoever a lock names that was taken on another machine, where the file system has no locks.
UNTOLD = {"pid": 7, "host": "node7", "boot": "before", "namespace": "", "started": "1", "kept_by": "file"}


class Elsewhere(ThreadPoolExecutor):
    """Who takes orders somewhere else, where something is not as it is here."""

    def __init__(self, **other: Any) -> None:
        super().__init__(1)
        self.other = other

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        (order,) = args
        return super().submit(fn, dataclasses.replace(order, **self.other), **kwargs)


def program(folder: Path, lines: str) -> str:
    """A program of the shell that stands for the interpreter that trains."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def sweep_command(*words: str) -> list[str]:
    """``embevo sweep`` as a process."""
    return [interpreter(), "-c", MAIN.format(python=interpreter()), "sweep", *words]


def grid_file(folder: Path, grid: dict[str, Any], **fixed: Any) -> Path:
    """A grid of tiny trainings."""
    path = folder / "grid.toml"
    path.write_text(tomli_w.dumps({"fixed": {**TINY, **fixed}, "grid": grid}))
    return path


def corpus_file(folder: Path) -> Path:
    """A corpus that is loaded at once."""
    path = folder / "corpus.txt"
    path.write_text("the quick brown fox jumps over the lazy dog\n" * 50)
    return path


def until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something while a process lives."""
    while not is_so():
        assert process.poll() is None, "the sweep has ended"
        time.sleep(0.03)


def started(grid: Path, out: Path, *options: str, threads: int = 1) -> subprocess.Popen[bytes]:
    """A sweep that has been started; what it says of its states goes to a file beside ``out``."""
    words = ["--out", str(out), "--threads", str(threads), "--no-analyze", *options]
    with out.with_name(f"{out.name}.said").open("ab") as said:
        return subprocess.Popen(sweep_command(str(grid), *words), stdout=said, stderr=subprocess.PIPE)


def pid_of(path: Path) -> int:
    """The process that writes a run; 0 if none does."""
    writer = writer_of(RunPaths(path).lock)
    match = re.match(r"process (\d+) on", writer.name) if writer is not None else None
    return int(match[1]) if match else 0


def halt(path: Path, sweep: subprocess.Popen[bytes], at_step: int = -1) -> int:
    """Have the process that trains a run do nothing from some step on; which one it is."""
    until(lambda: bool(pid_of(path)) and last(path) >= at_step, sweep)
    os.kill(pid_of(path), signal.SIGSTOP)
    return pid_of(path)


def interrupted(sweep: subprocess.Popen[bytes], out: Path, trainings: list[int]) -> None:
    """Ctrl-C of a sweep alone; its trainings, which were halted, go on when they have been told to end."""
    sweep.send_signal(signal.SIGINT)
    until(lambda: has_ended(out), sweep)
    for training in trainings:
        os.kill(training, signal.SIGCONT)
    _, said = sweep.communicate()
    assert sweep.returncode == 128 + signal.SIGINT, said.decode()


def last(path: Path) -> int:
    """The last step of a run; -1 if there is none."""
    steps = open_run(path).steps if (path / "manifest").exists() else []
    return int(steps[-1]) if len(steps) else -1


def has_ended(out: Path) -> bool:
    """Whether the sweep of a directory has told what trains for it to end."""
    return not list((out / "sweep").glob("session-*"))


def assert_as_if_alone(runs: list[GridRun], out: Path, alone: Path, threads: int = 1) -> None:
    """Runs of a sweep have the bits that they have where each is trained in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for run in runs:
        run_experiment(run.config, alone / run.name)
        one, other = open_run(out / run.name), open_run(alone / run.name)
        assert one.steps.tolist() == other.steps.tolist()
        for name in ("embeddings", "loss", "learning_rate"):
            assert np.asarray(one[name][:]).tobytes() == np.asarray(other[name][:]).tobytes()
        assert one.attributes["environment"]["threads"] == str(threads)
    torch.set_num_threads(before)
