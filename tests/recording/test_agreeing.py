"""Several processes that record together are asked for the same, and no one of them waits for another."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from embevo.errors import ArgumentError
from embevo.recording.beginning import Wanted
from embevo.recording.sharded import Part
from embevo.recording.sharded_run import begin_together
from embevo.run.format.schedule import every
from embevo.run.format.token_names import Annotations
from embevo.run.paths import RunPaths
from support.ranks import FRAME


@dataclass(frozen=True)
class OneOfTwo(Part):
    """A part whose other process gives another value where this one gives ``mine``."""

    mine: Any
    theirs: Any

    def everyone(self, value: Any) -> list[Any]:
        return [[0, "node0", value], [1, "node1", self.theirs if value == self.mine else value]]


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
    wanted = Wanted(
        RunPaths(tmp_path / "run"),
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
    part = OneOfTwo(0, "node0", None, {}, mine, theirs)
    with pytest.raises(ArgumentError, match=r"rank 1 on node1 and .* in rank 0 on node0: every process"):
        begin_together(part, replace(wanted, **what), lambda *_: None)
    assert not (tmp_path / "run").exists()
