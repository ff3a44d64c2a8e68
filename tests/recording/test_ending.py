"""Recorders that are closed too late: after the main thread has ended nothing can be sealed any more."""

import subprocess
import sys
from pathlib import Path

import pytest

from embevo import open_run
from embevo.run.repair.recovery import recover

AT_EXIT = """
import atexit
recorder = Recorder(path, {"embeddings": weight}, block_steps=8)
atexit.register(recorder.close)
for step in range(50):
    recorder.capture(step)
"""
IN_A_THREAD = """
import threading
recorder = Recorder(path, {"embeddings": weight}, block_steps=8)
for step in range(30):
    recorder.capture(step)
def train():
    threading.main_thread().join()
    with recorder:
        for step in range(30, 50):
            recorder.capture(step)
threading.Thread(target=train).start()
"""
BEGIN = """
import sys
from pathlib import Path
import torch
from embevo import Recorder
path, weight = Path(sys.argv[1]), torch.ones(4, 4)
"""


@pytest.mark.parametrize("ending", [AT_EXIT, IN_A_THREAD])
def test_what_could_not_be_sealed_stays_in_the_journal(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + ending, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    captured = open_run(path).steps.tolist()
    assert captured == list(range(len(captured)))
    # Without an error, everything was sealed in time; with one, whatever was captured is there all the same.
    assert (path / "journal").exists() == ("embevo recover" in done.stderr), done.stderr
    if ending == AT_EXIT or not done.stderr:
        assert len(captured) == 50
    if done.stderr:
        recover(path)
    assert open_run(path).steps.tolist() == captured
    assert open_run(path).sealed_rows == len(captured)
