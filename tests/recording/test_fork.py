"""A forked child has a copy of its parent's recorder, and nothing to do with the run."""

import gc
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from embevo import open_run
from embevo.errors import ClosedError, RunInUseError
from embevo.recording.recorder import Recorder
from support.captures import STEPS, capture
from support.forking import in_child
from support.interpreters import interpreter

CALLS: dict[str, Callable[[Recorder], object]] = {
    "capture": lambda recorder: recorder.capture(100),
    "flush": lambda recorder: recorder.flush(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_child_is_told_whose_the_recorder_is(
    tmp_path: Path, parameter: torch.nn.Parameter, call: str
) -> None:
    parent = os.getpid()
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        capture(recorder, parameter, 0)

        def work() -> None:
            with pytest.raises(ClosedError, match=f"belongs to process {parent}"):
                CALLS[call](recorder)

        assert in_child(work) == 0
        capture(recorder, parameter, 1)
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1]


def test_a_child_that_ends_its_copy_in_any_way_touches_nothing(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    capture(recorder, parameter, 0)

    def leave() -> None:
        with pytest.raises(ZeroDivisionError) as caught, recorder:
            1 / 0  # noqa: B018
        assert not hasattr(caught.value, "__notes__")

    def collect() -> None:
        nonlocal recorder
        del recorder
        gc.collect()

    for work in (recorder.close, leave, collect, lambda: recorder.stats):
        assert in_child(work) == 0
    for step in range(1, 10):
        capture(recorder, parameter, step)
    assert (tmp_path / "run" / "writer.lock").exists()
    recorder.close()
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(10))
    assert run.sealed_rows == 10


def test_a_child_may_record_its_own_run_and_not_its_parents(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    parent = os.getpid()
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        capture(recorder, parameter, 0)

        def work() -> None:
            for options in ({"resume": True}, {"overwrite": True}):
                with pytest.raises(RunInUseError, match=f"process {parent} "):
                    Recorder(tmp_path / "run", {"embeddings": parameter}, **options)
            with Recorder(tmp_path / "own", {"embeddings": parameter}) as own:
                own.capture(7)

        assert in_child(work) == 0
    assert open_run(tmp_path / "run").steps.tolist() == [0]
    assert open_run(tmp_path / "own").steps.tolist() == [7]


def test_a_pool_and_the_workers_of_a_data_loader_leave_the_recording_alone(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        step = 0
        for _ in range(2):
            loader = torch.utils.data.DataLoader(
                torch.arange(12), batch_size=2, num_workers=2, multiprocessing_context="fork"
            )
            for _ in loader:
                capture(recorder, parameter, step)
                step += 1
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
            capture(recorder, parameter, step)
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(step + 1))
    assert run.sealed_rows == step + 1


KILLED = """
import multiprocessing, os, signal, sys, time
import torch
from embevo import Recorder
recorder = Recorder(sys.argv[1], {"embeddings": torch.ones(4, 4)}, block_steps=5)
recorder.capture(0)
if sys.argv[2] == "helper":
    helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    helper.start()
    pid = helper.pid
else:
    loader = iter(torch.utils.data.DataLoader(range(10**9), num_workers=1, multiprocessing_context="fork"))
    next(loader)
    pid = multiprocessing.active_children()[0].pid
    # So that the worker does not look whether its parent lives.
    os.kill(pid, signal.SIGSTOP)
for step in range(1, 8):
    recorder.capture(step)
# Its output is open in the child too, and would not end.
open(sys.argv[3], "w").write(str(pid))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["helper", "data loader"])
def test_the_run_of_a_killed_process_is_taken_up_while_its_child_lives(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    noted = tmp_path / "pid"
    done = subprocess.run(
        [interpreter(), "-c", KILLED, str(path), kind, str(noted)], timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL
    child = int(noted.read_text())
    try:
        with Recorder(path, {"embeddings": torch.ones(4, 4)}, resume=True) as recorder:
            recorder.capture(8)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
    assert open_run(path).steps.tolist() == list(range(9))
