"""A training goes on with a run that was compacted, as with any other."""

from pathlib import Path

import numpy as np
import pytest
import torch

from embevo import Recorder, compact, open_run, verify
from embevo.run.exchange.exporting import export_snapshots
from embevo.run.exchange.merging import inspect_runs, merge_runs

SHAPE = (24, 16)


def train(path: Path, first: int, last: int, *, resume: bool = False, rewind_to: int | None = None) -> None:
    """Capture steps whose values are their numbers."""
    weight = torch.nn.Parameter(torch.zeros(SHAPE))
    options = {} if rewind_to is None else {"rewind_to": rewind_to}
    with Recorder(path, {"embeddings": weight}, block_steps=5, resume=resume, **options) as recorder:
        for step in range(first, last + 1):
            with torch.no_grad():
                weight.fill_(step)
            recorder.capture(step)


def check(path: Path, last: int) -> None:
    values = np.asarray(open_run(path)["embeddings"][:])
    assert values.shape == (last + 1, *SHAPE)
    assert np.array_equal(values, np.broadcast_to(np.arange(last + 1)[:, None, None], values.shape))
    found = verify(path, deep=True)
    assert found.ok, found.problems


@pytest.mark.parametrize("rewind_to", [None, 11, 7, -1])
def test_a_training_goes_on_after_a_compaction(tmp_path: Path, rewind_to: int | None) -> None:
    path = tmp_path / "run"
    train(path, 0, 12)
    compact(path)
    train(path, 13 if rewind_to is None else rewind_to + 1, 21, resume=True, rewind_to=rewind_to)
    check(path, 21)
    compacted = open_run(path).compacted_rows
    # Whole blocks that were kept stay compacted; the short last one is sealed anew.
    assert compacted == (10 if rewind_to is None else (rewind_to + 1) // 5 * 5)
    assert compact(path).compacted == 22 - compacted
    check(path, 21)


def test_a_compacted_run_is_exported_and_merged(tmp_path: Path) -> None:
    plain, small, rest = tmp_path / "plain", tmp_path / "small", tmp_path / "rest"
    train(plain, 0, 12)
    train(small, 0, 12)
    train(rest, 10, 16)
    compact(small)
    export_snapshots(open_run(plain), tmp_path / "files", range(13))
    export_snapshots(open_run(small), tmp_path / "others", range(13))
    for file in sorted((tmp_path / "files").iterdir()):
        assert file.read_bytes() == (tmp_path / "others" / file.name).read_bytes()
    assert open_run(small).to_xarray().identical(open_run(plain).to_xarray())
    merge_runs(inspect_runs([small, rest]), tmp_path / "merged")
    check(tmp_path / "merged", 16)
