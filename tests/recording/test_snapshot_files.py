"""Files that a process makes beside the training, and who goes on where it cannot."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embevo import open_run, recover, verify
from embevo.errors import RunInUseError
from embevo.recording import snapshot_files
from embevo.recording.recorder import Recorder
from embevo.run.journal import orphan
from support.faults.oracle import tree

STEPS = 100


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is started after the first file."""
    monkeypatch.setattr(snapshot_files, "STARTS_AFTER_FILES", 0)
    monkeypatch.setattr(snapshot_files, "STARTS_AT_RATE", 0)


def value_of(step: int) -> torch.Tensor:
    return torch.arange(32, dtype=torch.float32).reshape(8, 4) + 100 * step


def start(path: Path, **options: Any) -> tuple[Recorder, torch.Tensor]:
    weight = value_of(0)
    recorder = Recorder(path, {"embeddings": weight}, block_steps=20, **options)
    recorder.capture(0)
    return recorder, weight


def wait_until(condition: Any) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def process_of(recorder: Recorder) -> subprocess.Popen[bytes]:
    process = recorder._writer.files._process
    assert process is not None
    return process


def go_on(recorder: Recorder, weight: torch.Tensor, first: int = 1, stop: int = STEPS) -> None:
    for step in range(first, stop):
        weight.copy_(value_of(step))
        recorder.capture(step)
        if step % 7 == 0:
            time.sleep(0.002)


def check(path: Path, steps: int = STEPS) -> None:
    assert verify(path, deep=True).ok
    run = open_run(path)
    assert run.steps.tolist() == list(range(steps))
    for step, image in run.images(range(steps)):
        assert np.array_equal(run.frame.matrix(image, "embeddings"), value_of(step).numpy())
    assert len(list((path / "snapshots").iterdir())) == steps


@pytest.mark.parametrize("store", ["both", "safetensors"])
def test_a_process_makes_the_files_and_ends_with_the_recorder(tmp_path: Path, store: Any) -> None:
    recorder, weight = start(tmp_path / "run", store=store)
    wait_until(lambda: recorder.stats.file_maker == "process")
    process = process_of(recorder)
    go_on(recorder, weight)
    recorder.flush()
    assert recorder.stats.pending == 0
    recorder.close()
    assert process.returncode == 0
    assert recorder.stats.file_maker == "process"
    check(tmp_path / "run")


def test_the_thread_makes_none_of_the_files_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, weight = start(tmp_path / "run")
    wait_until(lambda: recorder.stats.file_maker == "process")
    made: list[int] = []
    monkeypatch.setattr(recorder._writer._sealer, "snapshot", lambda _, row: made.append(row))
    go_on(recorder, weight)
    recorder.close()
    assert not made
    check(tmp_path / "run")


@pytest.mark.parametrize("how", ["other program", "none", "fails", "no such file", "ends", "silent"])
def test_where_no_process_can_be_had_the_thread_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "other program":
        monkeypatch.setattr(sys, "executable", "/usr/bin/blender")
    elif how == "none":
        monkeypatch.setattr(sys, "executable", None)
    elif how == "fails":

        def refuse(*_: object, **__: object) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(subprocess, "Popen", refuse)
    else:
        program = tmp_path / "python-of-another-kind"
        monkeypatch.setattr(sys, "executable", str(program))
        if how != "no such file":
            program.write_text("#!/bin/sh\n" + ("exit 3\n" if how == "ends" else "exec sleep 600\n"))
            program.chmod(0o755)
    monkeypatch.setattr(snapshot_files, "PATIENCE_SECONDS", 0.2)
    recorder, weight = start(tmp_path / "run")
    go_on(recorder, weight)
    assert recorder.stats.file_maker == "thread"
    recorder.close()
    check(tmp_path / "run")


def test_it_ends_with_the_recorder_although_a_child_of_the_training_lives_on(tmp_path: Path) -> None:
    """As the workers of a data loader do, which were forked while it was there."""
    recorder, weight = start(tmp_path / "run")
    wait_until(lambda: recorder.stats.file_maker == "process")
    process = process_of(recorder)
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        go_on(recorder, weight)
        recorder.close()
        # It has ended by itself, and was not given up.
        assert process.returncode == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    check(tmp_path / "run")


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_files, "PATIENCE_SECONDS", 0.2)
    recorder, weight = start(tmp_path / "run")
    wait_until(lambda: recorder.stats.file_maker == "process")
    process = process_of(recorder)
    process.send_signal(signal.SIGSTOP)
    go_on(recorder, weight)
    recorder.close()
    assert process.returncode == -signal.SIGKILL
    check(tmp_path / "run")


def test_files_do_not_wait_for_ever_for_an_idle_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is given no core makes nothing; long before the ring fills, its work is done for it."""
    recorder, weight = start(tmp_path / "run")
    wait_until(lambda: recorder.stats.file_maker == "process")
    wait_until(lambda: not recorder.stats.pending)
    monkeypatch.setattr(snapshot_files, "LATE_SECONDS", 0.05)
    monkeypatch.setattr(snapshot_files, "PATIENCE_SECONDS", 0.1)
    process_of(recorder).send_signal(signal.SIGSTOP)
    go_on(recorder, weight, stop=4)
    wait_until((tmp_path / "run" / "snapshots" / "step_0000003.safetensors").exists)
    recorder.close()
    check(tmp_path / "run", 4)


CHILD = """
import sys, time
import torch
from embevo.recording import snapshot_files
from embevo.recording.recorder import Recorder
snapshot_files.STARTS_AFTER_FILES = snapshot_files.STARTS_AT_RATE = 0
sys.executable = sys.argv[2]
weight = torch.arange(32, dtype=torch.float32).reshape(8, 4)
recorder = Recorder(sys.argv[1], {"embeddings": weight}, block_steps=20)
recorder.capture(0)
while recorder._writer.files._process is None:
    time.sleep(0.0005)
for step in range(1, 30):
    weight.add_(100)
    recorder.capture(step)
print(recorder._writer.files._process.pid, flush=True)
time.sleep(600)
"""


def test_one_whose_parent_was_killed_before_it_was_ready_writes_nothing(tmp_path: Path) -> None:
    """It is held up on its way, until the run was recovered and resumed by another process."""
    path, gate, program = tmp_path / "run", tmp_path / "gate", tmp_path / "python"
    os.mkfifo(gate)
    program.write_text(f'#!/bin/sh\nread word < {gate}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    command = [sys.executable, "-c", CHILD, str(path), str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        child.kill()
    recover(path)
    check(path, 30)
    with Recorder(path, {"embeddings": value_of(30)}, resume=True) as recorder:
        recorder.capture(30)
        recorder.flush()
        before = tree(path)
        gate.write_text("go\n")
        wait_until(lambda: "\nState:\tZ" in status_of(pid))
        assert tree(path) == before
    check(path, 31)


def test_who_takes_a_run_over_waits_for_one_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are kept off, and the message says what helps."""
    monkeypatch.setattr(orphan, "PATIENCE_SECONDS", 0.1)
    path = tmp_path / "run"
    command = [sys.executable, "-c", CHILD, str(path), sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    hold = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print(flush=True); time.sleep(20)"
    )
    # The real one has ended by now; this holds its lock as one does whose disk has come to a halt.
    command = [sys.executable, "-c", hold, str(path / "journal")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        (path / "writer.lock").unlink()
        before = tree(path)
        for attempt in (
            lambda: recover(path),
            lambda: Recorder(path, {"embeddings": torch.zeros(8, 4)}, resume=True),
            lambda: Recorder(path, {"embeddings": torch.zeros(8, 4)}, overwrite=True),
        ):
            with pytest.raises(RunInUseError, match=rf"process {holder.pid}, .* kill -9 {holder.pid}\."):
                attempt()
        assert tree(path) == before
        os.kill(holder.pid, signal.SIGKILL)
    recover(path)
    check(path, 30)


def status_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ"


def test_what_is_left_at_the_end_is_counted(tmp_path: Path) -> None:
    recorder, weight = start(tmp_path / "run")
    assert (recorder.stats.deferred, recorder.stats.deferred_ns) == (0, 0)
    wait_until(lambda: recorder.stats.pending == 0)
    for step in range(1, 31):
        weight.copy_(value_of(step))
        recorder.capture(step)
    left = recorder.stats.pending
    recorder.close()
    assert 0 < recorder.stats.deferred <= left <= 30
    assert recorder.stats.deferred_ns > 0
    assert recorder.stats.pending == 0
