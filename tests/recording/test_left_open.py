"""Recorders that nobody closes: interrupted cells of a notebook, exceptions, forgetful functions."""

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embevo import open_run
from embevo.errors import ArgumentError, ClosedError, RecordingError, RunExistsError
from embevo.recording.recorder import Recorder
from support.captures import STEPS, capture, steps_on_disk
from support.sinks import NO_SPACE, FailingSink, SlowSink

LEFT: list[Recorder] = []


def wait_for_writers() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("embevo-"):
            thread.join(60)


def forget(path: Path, parameter: torch.nn.Parameter) -> None:
    recorder = Recorder(path, {"embeddings": parameter}, block_steps=STEPS)
    for step in range(6):
        capture(recorder, parameter, step)


def forget_in_a_cycle(path: Path, parameter: torch.nn.Parameter) -> None:
    holder: list[Any] = [Recorder(path, {"embeddings": parameter}, block_steps=STEPS)]
    holder.append(holder)
    for step in range(6):
        capture(holder[0], parameter, step)


def fail(path: Path, parameter: torch.nn.Parameter) -> None:
    """As a cell of IPython, which keeps the last traceback, and with it the frame and its recorder."""
    try:
        recorder = Recorder(path, {"embeddings": parameter}, block_steps=STEPS)
        for step in range(6):
            capture(recorder, parameter, step)
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        sys.last_traceback = error.__traceback__


def keep(path: Path, parameter: torch.nn.Parameter) -> None:
    recorder = Recorder(path, {"embeddings": parameter}, block_steps=STEPS)
    for step in range(6):
        capture(recorder, parameter, step)
    LEFT.append(recorder)


CELLS: list[Callable[[Path, torch.nn.Parameter], None]] = [forget, forget_in_a_cycle, fail, keep]


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Any:
    yield
    LEFT.clear()
    sys.last_traceback = None


@pytest.mark.parametrize("cell", [forget, forget_in_a_cycle])
def test_a_recorder_that_is_garbage_seals_its_run(
    tmp_path: Path, parameter: torch.nn.Parameter, cell: Callable[[Path, torch.nn.Parameter], None]
) -> None:
    cell(tmp_path / "run", parameter)
    gc.collect()
    wait_for_writers()
    assert steps_on_disk(tmp_path / "run") == list(range(6))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "manifest",
        "snapshots",
        "trajectory.zarr",
    ]


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_cell_can_be_run_again(
    tmp_path: Path,
    parameter: torch.nn.Parameter,
    cell: Callable[[Path, torch.nn.Parameter], None],
    through_a_link: bool,
) -> None:
    path = again = tmp_path / "run"
    if through_a_link:
        path = tmp_path / "link"
        path.symlink_to(again)
        again.mkdir()
    cell(path, parameter)
    # As it is, it is told of the run that is there, which is whole.
    with pytest.raises(RunExistsError):
        Recorder(again, {"embeddings": parameter}, block_steps=STEPS)
    assert steps_on_disk(again) == list(range(6))
    assert not (again / "journal").exists()
    assert not (again / "writer.lock").exists()
    cell_again = Recorder(again, {"embeddings": parameter}, resume=True)
    capture(cell_again, parameter, 6)
    del cell_again
    # While the one before is still at it, perhaps.
    with Recorder(again, {"embeddings": parameter}, resume=True) as recorder:
        assert open_run(again).steps.tolist() == list(range(7))
        capture(recorder, parameter, 7)
    assert steps_on_disk(again) == list(range(8))
    cell_again = Recorder(path, {"embeddings": parameter}, overwrite=True)
    capture(cell_again, parameter, 0)
    with Recorder(again, {"embeddings": parameter}, overwrite=True) as recorder:
        capture(recorder, parameter, 0)
        with pytest.raises(ClosedError, match="another recorder of this process"):
            cell_again.capture(1)
        with pytest.raises(ClosedError, match="another recorder of this process"):
            cell_again.flush()
        cell_again.close()
        capture(recorder, parameter, 1)
    assert steps_on_disk(again) == [0, 1]


def test_arguments_that_are_wrong_end_nothing(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        capture(recorder, parameter, 0)
        for options in ({"store": "tape"}, {"block_steps": 0}, {"attributes": {"a": object()}}):
            with pytest.raises(ArgumentError):
                Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True, **options)
        capture(recorder, parameter, 1)
    assert steps_on_disk(tmp_path / "run") == [0, 1]


@pytest.mark.parametrize("drop", [True, False])
def test_a_recorder_whose_writer_has_failed_is_ended_too(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch, drop: bool
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    sink = FailingSink(monkeypatch, NO_SPACE, after=0)
    sink.patch()
    capture(recorder, parameter, 0)
    assert sink.failed.wait(60)
    with pytest.raises(RecordingError):
        recorder.flush()
    wait_for_writers()
    if drop:
        # Its owner is gone, and the last thread that could let go of the run too.
        del recorder
        gc.collect()
        assert not (tmp_path / "run" / "writer.lock").exists()
    sink.mended = True
    with Recorder(tmp_path / "run", {"embeddings": parameter}, resume=True) as again:
        capture(again, parameter, 1)
    assert steps_on_disk(tmp_path / "run") == [0, 1]


def test_a_new_recorder_waits_for_what_the_old_one_has_to_write(
    tmp_path: Path, parameter: torch.nn.Parameter, sink: SlowSink
) -> None:
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS)
    for step in range(6):
        capture(recorder, parameter, step)
    assert sink.reached.acquire(timeout=60)
    made: list[Recorder] = []
    maker = threading.Thread(
        target=lambda: made.append(Recorder(tmp_path / "run", {"embeddings": parameter}, resume=True))
    )
    maker.start()
    # However long the making of one takes, it begins with the end of the older one.
    while not recorder._closed:
        maker.join(0.001)
        assert maker.is_alive()
    with pytest.raises(ClosedError):
        recorder.capture(6)
    sink.let_all()
    maker.join(60)
    assert steps_on_disk(tmp_path / "run") == list(range(6))
    made[0].close()
