"""The recorder as its users see it."""

import functools
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import zarr

from embevo.errors import ArgumentError, ClosedError, EmbevoError, FrameMismatchError
from embevo.recording.recorder import Recorder
from embevo.run.format.layout import Store, ZarrDtype
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.writing import sealing
from support import encoded, tensors
from support.captures import SHAPE, SINKS, STEPS, STORES, capture, expected, filled, steps_on_disk
from support.interpreters import interpreter


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
        with pytest.raises(ArgumentError, match="no scalar typo"):
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
        with pytest.raises(ArgumentError, match="ascending"):
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
        with pytest.raises(ArgumentError):
            recorder.capture(1, typo=0.5)
        with pytest.raises(ArgumentError):
            recorder.capture(1.5)
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
        with pytest.raises(ClosedError, match="is closed"):
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
from support import tensors
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
    command = [interpreter(), "-c", script, str(tmp_path / "run"), str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    assert open_run(tmp_path / "run").steps.tolist() == list(range(11))
    recover(tmp_path / "run")
    assert encoded.same_bits(SINKS["zarr"](tmp_path / "run"), expected(list(range(11))))
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
