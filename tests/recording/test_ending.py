"""Recorders that are never closed, or too late: what was captured is sealed when the interpreter ends."""

import subprocess
from pathlib import Path

import pytest

from embevo import open_run
from support.captures import steps_on_disk
from support.interpreters import interpreter

RECORD = """
recorder = Recorder(path, {"embeddings": weight}, block_steps=8)
for step in range(50):
    recorder.capture(step)
"""
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
    for step in range(30, 50):
        recorder.capture(step)
    if CLOSE:
        recorder.close()
threading.Thread(target=train).start()
"""
# Of more than one chunk: a pool of threads compresses it, and at the end there are no pools.
LARGE = """
weight = torch.ones(2304, 1024)
recorder = Recorder(path, {"embeddings": weight}, store="zarr", block_steps=4)
for step in range(50):
    weight[0, 0] = step
    recorder.capture(step)
"""
TWO = """
recorders = [Recorder(path / name, {"embeddings": weight}, block_steps=8) for name in "ab"]
for step in range(50):
    for recorder in recorders:
        recorder.capture(step)
"""
ENDINGS = {
    "the end of the script": RECORD,
    "sys.exit": RECORD + "sys.exit(0)",
    "an exception": RECORD + "raise ValueError('a typo')",
    "an interrupt": RECORD + "raise KeyboardInterrupt",
    "in a function": f"def main():{RECORD.replace(chr(10), chr(10) + '    ')}\nmain()",
    "in a cycle": RECORD + "recorder.me = recorder\ndel recorder",
    "atexit": AT_EXIT,
    "a thread that closes it": IN_A_THREAD.replace("CLOSE", "True"),
    "a thread that does not": IN_A_THREAD.replace("CLOSE", "False"),
    "a large matrix": LARGE,
    "an idle daemon thread": RECORD
    + "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
}
BEGIN = """
import sys, threading, time
from pathlib import Path
import torch
from embevo import Recorder
path, weight = Path(sys.argv[1]), torch.ones(4, 4)
"""


def run(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [interpreter(), "-c", BEGIN + script, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_sealed(path: Path) -> None:
    assert steps_on_disk(path) == list(range(50))
    assert not (path / "journal").exists()
    assert not (path / "writer.lock").exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_recorder_that_nobody_closes_seals_its_run_at_the_end(tmp_path: Path, ending: str) -> None:
    done = run(ENDINGS[ending], tmp_path / "run")
    assert_sealed(tmp_path / "run")
    if ending == "an exception":
        assert done.stderr.endswith("ValueError: a typo\n")
    elif ending != "an interrupt":
        assert (done.returncode, done.stderr) == (0, "")


def test_several_recorders_do_not_wait_for_each_other(tmp_path: Path) -> None:
    done = run(TWO, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in "ab":
        assert_sealed(tmp_path / name)


def test_a_capture_after_the_end_is_refused(tmp_path: Path) -> None:
    late = """
import atexit
atexit.register(lambda: recorder.capture(50))
"""
    done = run(RECORD + late, tmp_path / "run")
    assert "RecordingError: the interpreter is ending" in done.stderr
    assert_sealed(tmp_path / "run")
    assert open_run(tmp_path / "run").sealed_rows == 50
