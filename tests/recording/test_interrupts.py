"""An interrupt at any moment."""

import itertools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from embevo.errors import ClosedError, RunInUseError
from embevo.recording.recorder import Recorder
from embevo.run.disk.lock import WriterLock
from support import encoded
from support.captures import SINKS, STEPS, capture, expected, filled, steps_on_disk
from support.sinks import SlowSink


def test_an_interrupt_anywhere_in_capture_neither_loses_nor_repeats_a_step(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    """KeyboardInterrupt is raised at every line of capture in turn; the step is then captured again."""
    files = ("recorder.py", "staging.py", "journal.py", "stats.py", "writer.py", "divergence.py")
    total = 0
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    step = 0
    for line in itertools.count():
        seen = itertools.count()

        def tracing(frame: Any, event: str, argument: Any) -> Any:
            if not frame.f_code.co_filename.endswith(files):
                return None
            if event == "line" and next(seen) == line:  # noqa: B023
                raise KeyboardInterrupt
            return tracing

        step += 1
        with torch.no_grad():
            parameter.copy_(filled(step))
        sys.settrace(tracing)
        try:
            recorder.capture(step, loss=encoded.loss_of(step))
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(None)
        if not interrupted:
            break
        total += 1
        # As a loop would that goes on: the step again if it was not captured, the next one if it was.
        if recorder._last_step != step:
            recorder.capture(step, loss=encoded.loss_of(step))
    recorder.close()
    assert total > 10
    assert steps_on_disk(tmp_path / "run") == list(range(1, step + 1))
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(list(range(1, step + 1))))


def test_an_interrupt_while_a_capture_waits_for_room(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    for step in range(2 * STEPS):
        capture(recorder, parameter, step)
    assert sink.reached.acquire(timeout=60)
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    with torch.no_grad():
        parameter.copy_(filled(8))
    with pytest.raises(KeyboardInterrupt):
        recorder.capture(8)
    sink.let_all()
    recorder.capture(8)
    recorder.close()
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(list(range(9))))


def test_an_interrupt_while_close_waits_leaves_the_run_to_the_writer_until_it_is_closed_again(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    for step in range(6):
        capture(recorder, parameter, step)
    assert sink.reached.acquire(timeout=60)
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        recorder.close()
    with pytest.raises(ClosedError, match="is closed"):
        recorder.capture(6)
    with pytest.raises(RunInUseError):
        WriterLock(tmp_path / "run" / "writer.lock")
    sink.let_all()
    recorder.close()
    assert steps_on_disk(tmp_path / "run") == list(range(6))
    assert not (tmp_path / "run" / "journal").exists()
