"""What a capture does while the ring is full."""

import threading
from pathlib import Path

import pytest
import torch

from embevo.errors import RingFullError
from embevo.recording.recorder import Recorder
from support import encoded
from support.captures import SINKS, STEPS, capture, expected, steps_on_disk
from support.sinks import SlowSink


def test_capture_does_not_wait_while_the_ring_has_room(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    for step in range(STEPS):
        capture(recorder, parameter, step)
    # The writer is inside of a seal, and stays there, while the rest of the ring is filled.
    assert sink.reached.acquire(timeout=60)
    for step in range(STEPS, 2 * STEPS):
        capture(recorder, parameter, step)
    assert recorder.stats.captured == 2 * STEPS
    assert recorder.stats.waits == 0
    assert steps_on_disk(tmp_path / "run") == []
    sink.let_all()
    recorder.close()
    assert steps_on_disk(tmp_path / "run") == list(range(2 * STEPS))


def test_when_the_ring_is_full_capture_blocks_until_a_block_is_sealed(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    progress: list[int] = []

    def train() -> None:
        for step in range(3 * STEPS):
            capture(recorder, parameter, step)
            progress.append(step)

    trainer = threading.Thread(target=train)
    trainer.start()
    assert sink.reached.acquire(timeout=60)
    while len(progress) < 2 * STEPS:
        assert trainer.is_alive()
    # It is in the capture of step 8 now, or about to be, and cannot leave it.
    trainer.join(0.2)
    assert progress == list(range(2 * STEPS))
    sink.allowed.release()
    assert sink.reached.acquire(timeout=60)
    while len(progress) < 3 * STEPS:
        pass
    trainer.join()
    assert steps_on_disk(tmp_path / "run") == list(range(STEPS)), "the second block is not sealed yet"
    stats = recorder.stats
    assert (stats.captured, stats.waits, stats.dropped) == (3 * STEPS, 1, 0)
    assert stats.waited_ns > 0
    sink.let_all()
    recorder.close()
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(list(range(3 * STEPS))))


def test_when_the_ring_is_full_steps_are_dropped_if_that_was_chosen(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, when_full="drop", block_steps=STEPS)
    for step in range(2 * STEPS + 5):
        capture(recorder, parameter, step)
    assert (recorder.stats.captured, recorder.stats.dropped) == (2 * STEPS, 5)
    sink.let_all()
    recorder.flush()
    for step in range(20, 23):
        capture(recorder, parameter, step)
    recorder.close()
    steps = [*range(2 * STEPS), 20, 21, 22]
    assert steps_on_disk(tmp_path / "run") == steps, "the gap is visible"
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(steps))


def test_when_the_ring_is_full_it_is_an_error_if_that_was_chosen(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, when_full="error", block_steps=STEPS)
    for step in range(2 * STEPS):
        capture(recorder, parameter, step)
    for _ in range(2):
        with pytest.raises(RingFullError, match="step 8 was not captured: all 8 slots"):
            recorder.capture(8)
    sink.let_all()
    recorder.flush()
    capture(recorder, parameter, 9)
    recorder.close()
    assert steps_on_disk(tmp_path / "run") == [*range(8), 9]


def test_a_flush_wakes_a_writer_that_is_slow(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    capture(recorder, parameter, 0)
    flushed = threading.Event()
    flusher = threading.Thread(target=lambda: (recorder.flush(), flushed.set()))
    flusher.start()
    assert sink.reached.acquire(timeout=60)
    assert not flushed.is_set()
    sink.let_all()
    flusher.join()
    assert steps_on_disk(tmp_path / "run") == [0]
    recorder.close()
