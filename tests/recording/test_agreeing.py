"""Several processes that record together are asked for the same, and no one of them waits for another."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from embevo.errors import ArgumentError, CreationError
from embevo.recording import sharded
from embevo.recording.beginning import Wanted
from embevo.recording.sharded import Part
from embevo.recording.sharded_run import begin_together
from embevo.run.format.schedule import every
from embevo.run.format.token_names import Annotations
from embevo.run.paths import RunPaths
from support.ranks import FRAME, create


@dataclass(frozen=True)
class OneOfTwo(Part):
    """A part whose other process gives another value where this one gives ``mine``."""

    mine: Any
    theirs: Any

    def everyone(self, value: Any) -> list[Any]:
        return [[0, "node0", value], [1, "node1", self.theirs if value == self.mine else value]]


@dataclass(frozen=True)
class SecondOfTwo(Part):
    """A part whose first process has the first rows, and has made a run with an ID."""

    made: str

    def everyone(self, value: Any) -> list[Any]:
        told = {str(self.boxes_told()): FIRST_ROWS, str([-1, ""]): [-1, self.made]}
        return [[0, "node0", told.get(str(value), value)], [1, "node1", value]]

    def boxes_told(self) -> dict[str, Any]:
        return {name: [list(start), list(shape)] for name, (start, shape) in self.boxes.items()}


FIRST_ROWS = {"embeddings": [[0, 0], [4, 4]], "bias": [[0], [11]]}


@pytest.mark.parametrize("there", ["nothing", "another run"])
def test_a_directory_that_is_not_the_same_one_on_every_host_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """As where each host has a disk of its own, and an earlier run was recorded there."""
    monkeypatch.setattr(sharded.dist, "get_world_size", lambda: 2)
    path = tmp_path / "run"
    if there == "another run":
        create(path).leave()
    boxes = {"embeddings": ((4, 0), (7, 4)), "bias": ((0,), (0,))}
    part = SecondOfTwo(1, "node1", None, boxes, made="0123456789abcdef")
    said = "is not there" if there == "nothing" else "is another run"
    with pytest.raises(CreationError, match=f"{path} {said} on node1: record where every process sees the"):
        begin_together(part, wanted_at(path), lambda *_: None)
    assert not (path / "ranks" / "00001" / "trajectory.zarr").exists() or there == "another run"


def wanted_at(path: Path) -> Wanted:
    return Wanted(
        RunPaths(path),
        FRAME,
        store="zarr",
        zarr_dtype="float32",
        block_steps=None,
        attributes={},
        schedule=None,
        token_count=None,
        annotations=Annotations(),
        resuming=False,
        rewind_to=None,
        overwrite=False,
        sync=False,
        journal_dir=None,
        mirror=None,
    )


@pytest.mark.parametrize(
    ("what", "mine", "theirs"),
    [
        ({"resuming": True}, True, False),
        ({"resuming": None}, "auto", True),
        ({"block_steps": 4}, 4, 5),
        ({"rewind_to": 7}, 7, None),
        ({"store": "both"}, "both", "zarr"),
        ({"zarr_dtype": "native"}, "native", "float32"),
        ({"sync": True}, "power", "process"),
        ({"schedule": every(3)}, every(3).to_json(), None),
    ],
)
def test_processes_that_were_asked_for_different_things_are_told_so_at_once(
    tmp_path: Path, what: dict[str, Any], mine: Any, theirs: Any
) -> None:
    """What each of them goes on to do would differ: one would wait for another that does something else."""
    part = OneOfTwo(0, "node0", None, {}, mine, theirs)
    with pytest.raises(ArgumentError, match=r"rank 1 on node1 and .* in rank 0 on node0: every process"):
        begin_together(part, replace(wanted_at(tmp_path / "run"), **what), lambda *_: None)
    assert not (tmp_path / "run").exists()
