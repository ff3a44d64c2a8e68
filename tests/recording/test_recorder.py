"""The recorder as its users see it."""

import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import xarray
import zarr

import encoded
import tensors
from embevo.recording.recorder import Recorder
from embevo.run import sealing
from embevo.run.atomic import write_file
from embevo.run.errors import (
    EmbevoError,
    FrameMismatchError,
    RecordingError,
    RingFullError,
    RunExistsError,
    RunInUseError,
)
from embevo.run.reader import open_run
from embevo.run.recovery import recover
from embevo.run.trajectory import Store, ZarrDtype

SHAPE = (6, 4)
STEPS = 4
STORES: list[Store] = ["both", "zarr", "safetensors"]


def filled(step: int, dtype: str = "float32", shape: tuple[int, int] = SHAPE) -> torch.Tensor:
    return tensors.matrix(step, shape, dtype)


def capture(recorder: Recorder, parameter: torch.Tensor, step: int, dtype: str = "float32") -> None:
    """Capture the encoded matrix of a step, and spoil the parameter at once."""
    with torch.no_grad():
        parameter.copy_(filled(step, dtype, (parameter.shape[0], parameter.shape[1])))
        recorder.capture(step, loss=encoded.loss_of(step), lr=0.5)
        parameter.fill_(-1.0)


@pytest.fixture
def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(SHAPE))


def steps_on_disk(path: Path) -> list[int]:
    """The steps that plain zarr sees."""
    return np.asarray(zarr.open_group(path / "trajectory.zarr", mode="r")["step"][:]).tolist()


def expected(steps: list[int], dtype: str = "float32") -> np.ndarray[Any, Any]:
    return encoded.matrices(steps, SHAPE, dtype)


# What was captured is what every sink holds


SINKS: dict[str, Callable[[Path], np.ndarray[Any, Any]]] = {
    "zarr": lambda run: np.asarray(zarr.open(run / "trajectory.zarr", mode="r")["embeddings"][:]),
    "zarr array": lambda run: np.asarray(zarr.open_array(run / "trajectory.zarr/embeddings", mode="r")[:]),
    "xarray": lambda run: (
        xarray.open_zarr(run / "trajectory.zarr", chunks=None, mask_and_scale=False)["embeddings"].values
    ),
    "safetensors": lambda run: np.stack(
        [
            _numpy(safetensors.torch.load_file(path)["embeddings"])
            for path in sorted((run / "snapshots").iterdir())
        ]
    ),
    "reader": lambda run: open_run(run)["embeddings"][:],
    "images": lambda run: np.stack(
        [open_run(run).frame.matrix(image, "embeddings") for _, image in open_run(run).images(range(11))]
    ),
}


def _numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    name = next(name for name, dtype in tensors.DTYPES.items() if dtype == tensor.dtype)
    return tensor.view(torch.uint8).numpy().view(encoded.DTYPES[name])


def eleven_steps(path: Path, dtype: str, zarr_dtype: ZarrDtype) -> Recorder:
    """A recorder that has captured 11 steps: its full blocks, and a tail that stays in the journal."""
    parameter = torch.zeros(SHAPE, dtype=tensors.DTYPES[dtype])
    recorder = Recorder(path, {"embeddings": parameter}, zarr_dtype=zarr_dtype, block_steps=STEPS)
    for step in range(11):
        capture(recorder, parameter, step, dtype)
    return recorder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, ZarrDtype], Path]:
    """A closed run of 11 steps of a dtype, made once."""

    @functools.cache
    def make(dtype: str, zarr_dtype: ZarrDtype) -> Path:
        path = tmp_path_factory.mktemp("runs") / "run"
        eleven_steps(path, dtype, zarr_dtype).close()
        return path

    return make


@pytest.mark.parametrize("dtype", list(encoded.DTYPES))
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
@pytest.mark.parametrize("sink", list(SINKS))
def test_every_sink_holds_every_value_where_it_belongs(
    recorded: Callable[[str, ZarrDtype], Path], dtype: str, zarr_dtype: ZarrDtype, sink: str
) -> None:
    values = SINKS[sink](recorded(dtype, zarr_dtype))
    stored_wide = zarr_dtype == "float32" and encoded.DTYPES[dtype].itemsize == 2
    if stored_wide and sink not in {"safetensors", "images"}:
        assert encoded.same_bits(values, encoded.widened(expected(list(range(11)), dtype)))
        return
    assert_in_place(values, dtype)


@pytest.mark.parametrize("dtype", list(encoded.DTYPES))
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
def test_the_tail_in_the_journal_holds_every_value_where_it_belongs(
    tmp_path: Path, dtype: str, zarr_dtype: ZarrDtype
) -> None:
    with eleven_steps(tmp_path / "run", dtype, zarr_dtype):
        assert_in_place(SINKS["images"](tmp_path / "run"), dtype)


def assert_in_place(values: np.ndarray[Any, Any], dtype: str) -> None:
    """Every value of 11 steps names the place where it was captured."""
    assert values.dtype == encoded.DTYPES[dtype]
    step, token, dim = encoded.decode(values, SHAPE)
    places = np.indices((11, *SHAPE))
    assert np.array_equal(step, places[0])
    assert np.array_equal(token, places[1])
    assert np.array_equal(dim, places[2])


@pytest.mark.parametrize("dtype", list(encoded.DTYPES))
def test_the_files_are_what_safetensors_would_have_saved(
    recorded: Callable[[str, ZarrDtype], Path], tmp_path: Path, dtype: str
) -> None:
    run = recorded(dtype, "float32")
    for step in range(11):
        safetensors.torch.save_file({"embeddings": filled(step, dtype)}, tmp_path / "saved")
        assert (run / f"snapshots/step_{step:07d}.safetensors").read_bytes() == (
            tmp_path / "saved"
        ).read_bytes()


@pytest.mark.parametrize("shape", [(6, 4), (700, 500)], ids=["sealed by the loop", "sealed by the writer"])
def test_what_is_overwritten_right_after_capture_was_captured(tmp_path: Path, shape: tuple[int, int]) -> None:
    interval = sys.getswitchinterval()
    count = 400 if shape == (6, 4) else 12
    parameter = torch.zeros(shape)
    sys.setswitchinterval(1e-6)
    try:
        with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
            for step in range(count):
                capture(recorder, parameter, step)
    finally:
        sys.setswitchinterval(interval)
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(count))
    for step, image in run.images(range(count)):
        assert encoded.same_bits(
            run.frame.matrix(image, "embeddings"), encoded.matrix(step, shape, "float32")
        )
    values = SINKS["zarr"](tmp_path / "run")
    assert encoded.same_bits(values, encoded.matrices(encoded.steps_of(count), shape, "float32"))


def test_several_matrices_and_scalars(tmp_path: Path) -> None:
    first, second = torch.zeros(SHAPE), torch.zeros(SHAPE, dtype=torch.bfloat16)
    with Recorder(
        tmp_path / "run", {"z": first, "a": second}, scalars=("norm", "temperature"), block_steps=STEPS
    ) as recorder:
        for step in range(6):
            first.copy_(filled(step))
            second.copy_(filled(step + 1, "bfloat16"))
            if step != 3:
                recorder.capture(step, loss=torch.tensor(step + 0.5), lr=1.0 / (step + 1), norm=float(step))
            else:
                recorder.capture(step)
        with pytest.raises(EmbevoError, match="no scalar typo"):
            recorder.capture(6, typo=1.0)
    group = zarr.open_group(tmp_path / "run" / "trajectory.zarr", mode="r")
    assert encoded.same_bits(np.asarray(group["z"][:]), expected(list(range(6))))
    wide = encoded.widened(expected(list(range(1, 7)), "bfloat16"))
    assert encoded.same_bits(np.asarray(group["a"][:]), wide)
    nan = float("nan")
    np.testing.assert_array_equal(group["loss"][:], [0.5, 1.5, 2.5, nan, 4.5, 5.5])
    np.testing.assert_array_equal(group["learning_rate"][:], [1, 1 / 2, 1 / 3, nan, 1 / 5, 1 / 6])
    np.testing.assert_array_equal(group["norm"][:], [0, 1, 2, nan, 4, 5])
    np.testing.assert_array_equal(group["temperature"][:], [nan] * 6)


def test_steps_with_gaps_keep_their_numbers(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    steps = [0, 1, 2, 10, 20, 30, 31, 1000, 5_000_000]
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        for step in steps:
            capture(recorder, parameter, step)
    assert steps_on_disk(tmp_path / "run") == steps
    assert open_run(tmp_path / "run").steps.tolist() == steps
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(steps))


@pytest.mark.parametrize("step", [2, 1, 0, -1])
def test_steps_go_up(tmp_path: Path, parameter: torch.nn.Parameter, step: int) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        capture(recorder, parameter, 2)
        with pytest.raises(EmbevoError, match="ascending"):
            recorder.capture(step)
        capture(recorder, parameter, 3)
    assert steps_on_disk(tmp_path / "run") == [2, 3]


def test_the_first_step_is_not_negative(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}) as recorder:
        with pytest.raises(EmbevoError):
            recorder.capture(-1)
        capture(recorder, parameter, 0)
    assert steps_on_disk(tmp_path / "run") == [0]


def test_a_capture_that_is_refused_leaves_no_trace(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        capture(recorder, parameter, 0)
        data = parameter.data
        parameter.data = torch.zeros(SHAPE[0], SHAPE[1] + 1)
        with pytest.raises(FrameMismatchError):
            recorder.capture(1)
        parameter.data = data
        with pytest.raises((TypeError, ValueError)):
            recorder.capture(1, loss="high")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            recorder.capture(1, lr="low")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            recorder.capture(1.5)  # type: ignore[arg-type]
        capture(recorder, parameter, 1)
    assert steps_on_disk(tmp_path / "run") == [0, 1]
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected([0, 1]))


# Flush and close


@pytest.mark.parametrize("store", STORES)
def test_flush_returns_when_all_is_on_disk(
    tmp_path: Path, parameter: torch.nn.Parameter, store: Store
) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, store=store, block_steps=STEPS) as recorder:
        recorder.flush()
        assert steps_on_disk(tmp_path / "run") == []
        for step in range(11):
            capture(recorder, parameter, step)
            if step in {0, 2, 3, 5, 10}:
                recorder.flush()
                assert steps_on_disk(tmp_path / "run") == list(range(step + 1))
                recorder.flush()
                if store != "safetensors":
                    found = SINKS["zarr"](tmp_path / "run")
                    assert encoded.same_bits(found, expected(list(range(step + 1))))
                if store != "zarr":
                    found = SINKS["safetensors"](tmp_path / "run")
                    assert encoded.same_bits(found, expected(list(range(step + 1))))


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5, 8])
def test_close_leaves_a_complete_run_and_nothing_else(
    tmp_path: Path, parameter: torch.nn.Parameter, store: Store, steps: int
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, store=store, block_steps=STEPS)
    for step in range(steps):
        capture(recorder, parameter, step)
    recorder.close()
    recorder.close()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"trajectory.zarr", "manifest"} | ({"snapshots"} if store != "zarr" else set())
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert ("embeddings" in zarr.open_group(tmp_path / "run" / "trajectory.zarr", mode="r")) == (
        store != "safetensors"
    )
    assert steps_on_disk(tmp_path / "run") == list(range(steps))
    assert open_run(tmp_path / "run").sealed_rows == steps
    assert recorder.stats.captured == steps
    for call in (recorder.flush, lambda: recorder.capture(99)):
        with pytest.raises(RecordingError, match="is closed"):
            call()


def test_the_writer_thread_has_ended_after_close(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}) as recorder:
        assert "embevo-writer" in {thread.name for thread in threading.enumerate()}
        thread = recorder._writer._thread
    assert not thread.is_alive()


def test_an_exception_of_the_body_is_the_one_that_is_seen(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    def train() -> None:
        with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
            for step in range(6):
                capture(recorder, parameter, step)
            1 / 0  # noqa: B018

    with pytest.raises(ZeroDivisionError):
        train()
    assert steps_on_disk(tmp_path / "run") == list(range(6))


EXIT = """
import sys, torch
sys.path.insert(0, sys.argv[2])
import tensors
from embevo import Recorder
parameter = torch.zeros(6, 4)
recorder = Recorder(sys.argv[1], {"embeddings": parameter}, block_steps=4)
def train():
    for step in range(11):
        parameter.copy_(tensors.matrix(step, (6, 4), "float32"))
        recorder.capture(step)
train()
{ending}
"""


@pytest.mark.parametrize(
    ("ending", "code"), [("", 0), ("sys.exit(3)", 3), ("raise RuntimeError('body')", 1), ("del recorder", 0)]
)
def test_a_recorder_that_nobody_closed_lets_the_process_end_and_loses_nothing(
    tmp_path: Path, ending: str, code: int
) -> None:
    script = EXIT.replace("{ending}", ending)
    command = [sys.executable, "-c", script, str(tmp_path / "run"), str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    assert open_run(tmp_path / "run").steps.tolist() == list(range(11))
    recover(tmp_path / "run")
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(list(range(11))))
    assert not (tmp_path / "run" / "journal").exists()


# The ring is full


class SlowSink:
    """Lets blocks be written only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.open = False
        original = sealing.Sealer.seal

        def seal(sealer: sealing.Sealer, journal: Any, stop: int) -> None:
            self.reached.release()
            if not self.open:
                assert self.allowed.acquire(timeout=60)
            original(sealer, journal, stop)

        monkeypatch.setattr(sealing.Sealer, "seal", seal)

    def let_all(self) -> None:
        self.open = True
        self.allowed.release(1000)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowSink]:
    slow = SlowSink(monkeypatch)
    yield slow
    slow.let_all()


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


# The writer fails


class FailingSink:
    """Fails to write whatever comes after a number of files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, *, after: int) -> None:
        self.left = after
        self.failed = threading.Event()
        self.mended = False
        # Cleared by a test that has more to do before anything is written.
        self.open = threading.Event()
        self.open.set()

        def failing(path: Path, data: bytes, *, sync: bool) -> None:
            assert self.open.wait(60)
            self.left -= 1
            if self.left < 0 and not self.mended:
                self.failed.set()
                raise (
                    error
                    if not isinstance(error, OSError)
                    else OSError(error.errno, error.strerror, str(path))
                )
            write_file(path, data, sync=sync)

        self.patch = lambda: monkeypatch.setattr(sealing, "write_file", failing)


NO_SPACE = OSError(28, "No space left on device")


def wait_for_failure(recorder: Recorder) -> None:
    recorder._writer._thread.join(60)
    assert not recorder._writer._thread.is_alive()


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
        with pytest.raises(RecordingError, match=f"{place}.*Read-only"):
            recorder.close()
    assert steps_on_disk(tmp_path / "run") == [0]
    Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True).close()


# Directories


def test_a_run_is_not_overwritten(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        capture(recorder, parameter, 0)
    with pytest.raises(RunExistsError, match=r"already holds .*manifest"):
        Recorder(tmp_path / "run", {"embeddings": parameter})
    assert steps_on_disk(tmp_path / "run") == [0]
    with Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True, store="zarr") as recorder:
        capture(recorder, parameter, 7)
    assert steps_on_disk(tmp_path / "run") == [7]
    assert not (tmp_path / "run" / "snapshots").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_left_alone(tmp_path: Path, parameter: torch.nn.Parameter, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("five years of work")
    (tmp_path / "snapshots").mkdir()
    with pytest.raises(RunExistsError, match=r"already holds snapshots, thesis\.tex\. It is not a run"):
        Recorder(tmp_path, {"embeddings": parameter}, overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshots", "thesis.tex"]


def test_overwriting_spares_what_is_not_part_of_the_run(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    Recorder(tmp_path / "run", {"embeddings": parameter}).close()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunExistsError, match=r"notes\.txt"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_an_empty_directory_will_do(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    Recorder(tmp_path, {"embeddings": parameter}).close()
    assert steps_on_disk(tmp_path) == []


def test_a_run_that_is_being_written_is_not_touched(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        capture(recorder, parameter, 0)
        for overwrite in (False, True):
            with pytest.raises(RunInUseError, match=f"process {os.getpid()} on "):
                Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=overwrite)
        with pytest.raises(RunInUseError, match=f"process {os.getpid()} on "):
            Recorder(tmp_path / "run", {"embeddings": parameter}, resume=True)
        capture(recorder, parameter, 1)
    assert steps_on_disk(tmp_path / "run") == [0, 1]


def test_a_directory_that_cannot_be_made_is_an_error_with_its_path(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=str(tmp_path / "file")):
        Recorder(tmp_path / "file" / "run", {"embeddings": parameter})


@pytest.mark.parametrize("after", range(9))
def test_a_creation_that_fails_leaves_nothing_behind(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    failing = FailingSink(monkeypatch, NO_SPACE, after=after)
    failing.patch()
    counts = np.zeros(SHAPE[0], np.int64)
    problem = ""
    try:
        Recorder(tmp_path / "run", {"embeddings": parameter}, token_count=counts).close()
    except RecordingError as error:
        problem = str(error)
    assert bool(problem) == failing.failed.is_set()
    if problem:
        assert "No space left" in problem
        assert str(tmp_path / "run") in problem
        assert not list((tmp_path / "run").iterdir())
    failing.mended = True
    Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True).close()


def test_token_counts_must_fit(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with pytest.raises(RecordingError, match=r"token_count has shape \(5,\); the matrices have 6 tokens"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, token_count=np.zeros(5, np.int64))
    assert not (tmp_path / "run").exists()


def test_attributes_that_are_no_json_leave_nothing_behind(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    for attributes in ({"f": float("nan")}, {"o": object()}):
        with pytest.raises((RecordingError, TypeError, ValueError)):
            Recorder(tmp_path / "run", {"embeddings": parameter}, attributes=attributes)
        assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())
    Recorder(tmp_path / "run", {"embeddings": parameter}, attributes={"config": {"lr": 0.1}}).close()
    group = json.loads((tmp_path / "run" / "trajectory.zarr" / "zarr.json").read_text())
    assert group["attributes"]["config"] == {"lr": 0.1}


# Interrupts


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
    with pytest.raises(RecordingError, match="is closed"):
        recorder.capture(6)
    with pytest.raises(RunInUseError):
        Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True)
    sink.let_all()
    recorder.close()
    assert steps_on_disk(tmp_path / "run") == list(range(6))
    assert not (tmp_path / "run" / "journal").exists()


# Numbers


def test_statistics(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        assert recorder.stats.captured == 0
        assert recorder.stats.capture_ns_p50 == 0
        for step in range(20):
            capture(recorder, parameter, step)
        stats = recorder.stats
    assert (stats.captured, stats.dropped, stats.ring_slots) == (20, 0, 2 * STEPS)
    assert 0 < stats.capture_ns_p50 <= stats.capture_ns_p99 <= stats.capture_ns_max
    assert 0 <= stats.pending <= 20
    assert recorder.stats.pending == 0
    assert stats.ring_bytes > 2 * STEPS * SHAPE[0] * SHAPE[1] * 4
    assert recorder.frame.shape == SHAPE


def test_what_the_writer_has_not_taken_up_is_pending(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    write = sealing.Sealer.snapshot

    def late(sealer: sealing.Sealer, *row: Any) -> None:
        go_on.wait()
        write(sealer, *row)

    monkeypatch.setattr(sealing.Sealer, "snapshot", late)
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        for step in range(5):
            capture(recorder, parameter, step)
        assert recorder.stats.pending == 5
        go_on.set()
        recorder.flush()
        assert recorder.stats.pending == 0


# What is asked for


@pytest.mark.parametrize(
    "options",
    [{"store": "safetensor"}, {"when_full": "wait"}, {"zarr_dtype": "bfloat16"}, {"durability": "powr"}],
)
def test_a_misspelt_option_is_refused_before_anything_is_written(
    tmp_path: Path, parameter: torch.nn.Parameter, options: Any
) -> None:
    (name, value), *_ = options.items()
    with pytest.raises(RecordingError, match=f"{name} is '{value}'; it must be one of"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, **options)
    with pytest.raises(RecordingError, match="block_steps is 0"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=0)
    assert not (tmp_path / "run").exists()


def test_overwriting_deletes_nothing_when_it_has_to_be_refused(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}) as recorder:
        recorder.capture(0)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunExistsError, match=r"already holds notes\.txt\. These are not parts of a run"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True)
    (tmp_path / "run" / "notes.txt").unlink()
    with pytest.raises(RecordingError, match="attributes are kept as JSON"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True, attributes={"x": tmp_path})
    assert steps_on_disk(tmp_path / "run") == [0]
    # Figures of the old run go with it.
    (tmp_path / "run" / "figures").mkdir()
    Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True).close()
    assert not (tmp_path / "run" / "figures").exists()


def test_a_recorder_that_cannot_start_lets_go_of_the_run(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("embevo.recording.recorder.transport_for", out_of_memory)
        with pytest.raises(RuntimeError, match="out of memory"):
            Recorder(tmp_path / "run", {"embeddings": parameter})
    with Recorder(tmp_path / "run", {"embeddings": parameter}) as recorder:
        recorder.capture(0)
    assert steps_on_disk(tmp_path / "run") == [0]


def test_the_durable_step_is_read_before_its_slot_may_be_filled_again(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of one step, the slot of the last sealed row is the next but one to be used."""
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=1, durability="power")
    writer = recorder._writer
    original = writer._sync
    seen: list[tuple[int, int | None]] = []

    def sync() -> None:
        sealed = writer._sealer.rows
        if sealed:
            # As slow as it takes: the training thread begins with the row that comes into the same slot.
            writer._journal.begin(sealed + 1)
            writer._journal.commit(sealed + 1, 999, (0.0, 0.0), seal=False)
            writer._journal.begin(sealed + 1)
        original()
        if sealed:
            seen.append((sealed, writer.durable_step))

    # Of this writer only. A class whose methods a thread is calling must not be given the old one back:
    # CPython 3.11 lets go of the new one, and may run that thread before it is told to look again.
    monkeypatch.setattr(writer, "_sync", sync)
    for step in range(5):
        recorder.capture(10 * step)
        recorder.flush()
        # The slot that is cleared there must not be in use here.
        while step + 1 not in [sealed for sealed, _ in seen]:
            time.sleep(0.001)
    recorder.close()
    assert [pair for pair in seen if pair[1] != 10 * (pair[0] - 1)] == []
    assert recorder.durable_step == 40
