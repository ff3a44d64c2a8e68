"""The writer fails: the training thread hears of it, and nothing is lost."""

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embevo.errors import CreationError, RecordingError
from embevo.recording.recorder import Recorder
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.writing import sealing
from support import encoded
from support.captures import SINKS, STEPS, capture, expected, steps_on_disk
from support.sinks import NO_SPACE, FailingSink


def wait_for_failure(recorder: Recorder) -> None:
    recorder._writer._thread.join(60)
    assert not recorder._writer._thread.is_alive()


def test_where_the_ring_was_removed_nothing_is_said_to_be_safe_in_it(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    shutil.rmtree(tmp_path / "run")
    for step in range(STEPS):
        capture(recorder, parameter, step)
    with pytest.raises(
        RecordingError, match=r"Somebody has removed .*/run/journal: .* gone with it"
    ) as caught:
        recorder.flush()
    assert "are safe in" not in str(caught.value)
    with pytest.raises(RecordingError, match="Somebody has removed"):
        recorder.close()


@pytest.mark.parametrize("after", [0, 1, 3, 5, 7, 10])
@pytest.mark.parametrize("call", ["capture", "flush", "close", "exit"])
def test_an_error_of_the_writer_reaches_the_next_call(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch, after: int, call: str
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    failing = FailingSink(monkeypatch, NO_SPACE, after=after)
    failing.open.clear()
    failing.patch()
    for step in range(100, 100 + STEPS):
        capture(recorder, parameter, step)
    failing.open.set()
    wait_for_failure(recorder)
    calls: dict[str, Callable[[], object]] = {
        "capture": lambda: recorder.capture(104),
        "flush": recorder.flush,
        "close": recorder.close,
        "exit": lambda: recorder.__exit__(None, None, None),
    }
    with pytest.raises(RecordingError, match=r"writing step 10[0-3] failed at .*No space left") as caught:
        calls[call]()
    assert str(tmp_path / "run") in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == 28
    # It stays so.
    with pytest.raises(RecordingError, match=r"writing step 10[0-3] failed"):
        recorder.capture(104)
    if call in {"capture", "flush"}:
        with pytest.raises(RecordingError, match=r"writing step 10[0-3] failed"):
            recorder.close()
    recorder.close()
    # Everything captured can be read, and nothing that was not sealed is visible to zarr.
    found = open_run(tmp_path / "run")
    assert found.steps.tolist() == [100, 101, 102, 103]
    assert encoded.same_bits(found["embeddings"][:], expected([100, 101, 102, 103]))
    assert steps_on_disk(tmp_path / "run") in ([], [100, 101, 102, 103])


@pytest.mark.parametrize("error", [RuntimeError("codec"), MemoryError(), ValueError("odd")])
def test_any_error_of_the_writer_is_reported(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    failing = FailingSink(monkeypatch, error, after=2)
    failing.open.clear()
    failing.patch()
    for step in range(STEPS):
        capture(recorder, parameter, step)
    failing.open.set()
    with pytest.raises(RecordingError, match=f"step 2 failed at {type(error).__name__}") as caught:
        recorder.close()
    assert caught.value.__cause__ is error
    assert caught.value.__cause__.__traceback__ is not None


def test_a_capture_that_waits_for_room_is_woken_by_the_writers_error(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def seal(sealer: sealing.Sealer, journal: Any, stop: int) -> None:
        assert gate.wait(60)
        raise OSError(5, "Input/output error", "somewhere")

    monkeypatch.setattr(sealing.Sealer, "seal", seal)
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    for step in range(2 * STEPS):
        capture(recorder, parameter, step)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            recorder.capture(8)
        except RecordingError as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()
    gate.set()
    waiter.join(60)
    assert not waiter.is_alive()
    assert "somewhere: Input/output error" in str(errors[0])
    with pytest.raises(RecordingError):
        recorder.close()
    assert open_run(tmp_path / "run").steps.tolist() == list(range(8))


def test_the_bodys_exception_is_not_hidden_by_the_writers(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train() -> None:
        with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=1) as recorder:
            FailingSink(monkeypatch, NO_SPACE, after=0).patch()
            capture(recorder, parameter, 0)
            1 / 0  # noqa: B018

    with pytest.raises(ZeroDivisionError) as caught:
        train()
    assert any("Recording had failed too" in note for note in caught.value.__notes__)


def test_an_error_that_a_capture_raised_is_not_noted_beside_itself(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train() -> None:
        with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=1) as recorder:
            FailingSink(monkeypatch, NO_SPACE, after=0).patch()
            for step in range(1000):
                capture(recorder, parameter, step)
                recorder.flush()

    with pytest.raises(RecordingError) as caught:
        train()
    assert not getattr(caught.value, "__notes__", [])


def test_a_run_that_was_removed_while_it_is_recorded_is_not_said_to_be_safe(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=2)
    capture(recorder, parameter, 0)
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(RecordingError, match="unless the run was moved") as caught:
        recorder.flush()
    assert "are safe" not in str(caught.value)
    with pytest.raises(RecordingError):
        recorder.close()
    # What it says of one that was moved is true.
    assert recover(tmp_path / "moved").sealed == [0]


def test_a_failed_close_still_lets_go_of_the_run(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    sink = FailingSink(monkeypatch, NO_SPACE, after=0)
    sink.patch()
    captured: list[int] = []
    with contextlib.suppress(RecordingError):
        for step in range(6):
            capture(recorder, parameter, step)
            captured.append(step)
    with pytest.raises(RecordingError):
        recorder.close()
    sink.mended = True
    assert captured
    assert recover(tmp_path / "run").sealed == captured
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(captured))


@pytest.mark.parametrize("place", ["journal", "writer.lock"])
def test_a_close_that_cannot_remove_a_file_says_so_and_lets_go(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    capture(recorder, parameter, 0)
    unlink = Path.unlink

    def failing(path: Path, missing_ok: bool = False) -> None:
        if path.name == place:
            raise OSError(30, "Read-only file system", str(path))
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing)
        with pytest.raises((RecordingError, CreationError), match=f"{place}.*Read-only"):
            recorder.close()
    assert steps_on_disk(tmp_path / "run") == [0]
    Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True).close()
