"""Which directories a recorder takes, and what it refuses to begin with."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embevo.errors import ArgumentError, CreationError, RunExistsError, RunInUseError
from embevo.recording.recorder import Recorder
from support.captures import SHAPE, STEPS, capture, steps_on_disk
from support.interpreters import interpreter
from support.sinks import NO_SPACE, FailingSink

ANOTHER = """
import os, sys, torch
from embevo import Recorder
with Recorder(sys.argv[1], {"embeddings": torch.ones(6, 4)}) as recorder:
    recorder.capture(0)
    print(os.getpid(), flush=True)
    sys.stdin.read()
    recorder.capture(1)
"""


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
    with subprocess.Popen(
        [interpreter(), "-c", ANOTHER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(RunInUseError, match=f"process {pid} on "):
                Recorder(tmp_path / "run", {"embeddings": parameter}, **options)
        other.stdin.close()
        assert other.wait(60) == 0
    assert steps_on_disk(tmp_path / "run") == [0, 1]


def test_a_directory_that_cannot_be_made_is_an_error_with_its_path(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        CreationError, match=f"{tmp_path}/file/run: .*\\. Choose a directory that can be made"
    ):
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
    except CreationError as error:
        problem = str(error)
    assert bool(problem) == failing.failed.is_set()
    if problem:
        assert "No space left" in problem
        assert str(tmp_path / "run") in problem
        assert not (tmp_path / "run").exists()
    failing.mended = True
    Recorder(tmp_path / "run", {"embeddings": parameter}, overwrite=True).close()


def test_token_counts_must_fit(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with pytest.raises(ArgumentError, match=r"token_count has shape \(5,\); the matrices have 6 tokens"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, token_count=np.zeros(5, np.int64))
    assert not (tmp_path / "run").exists()


def test_attributes_that_are_no_json_leave_nothing_behind(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    for attributes in ({"f": float("nan")}, {"o": object()}):
        with pytest.raises(ArgumentError, match="JSON"):
            Recorder(tmp_path / "run", {"embeddings": parameter}, attributes=attributes)
        assert not (tmp_path / "run").exists()
    Recorder(tmp_path / "run", {"embeddings": parameter}, attributes={"config": {"lr": 0.1}}).close()
    group = json.loads((tmp_path / "run" / "trajectory.zarr" / "zarr.json").read_text())
    assert group["attributes"]["config"] == {"lr": 0.1}


@pytest.mark.parametrize(
    "options",
    [{"store": "safetensor"}, {"when_full": "wait"}, {"zarr_dtype": "bfloat16"}, {"durability": "powr"}],
)
def test_a_misspelt_option_is_refused_before_anything_is_written(
    tmp_path: Path, parameter: torch.nn.Parameter, options: Any
) -> None:
    (name, value), *_ = options.items()
    with pytest.raises(ArgumentError, match=f"{name} is '{value}'; it must be one of"):
        Recorder(tmp_path / "run", {"embeddings": parameter}, **options)
    with pytest.raises(ArgumentError, match="block_steps is 0"):
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
    with pytest.raises(ArgumentError, match=r"attributes\['x'\]: pathlib.* is not JSON"):
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
