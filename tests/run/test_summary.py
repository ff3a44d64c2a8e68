"""What a run looks like at a glance, in each state it can be in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embevo.run.disk.lock import WriterLock
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.reading.summary import BrokenRun, RunSummary, find_runs, summarize
from support import written


def closed(run: written.WrittenRun) -> Path:
    """As after a clean close."""
    run.journal.close()
    RunPaths(run.path).journal.unlink()
    return run.path


def test_a_complete_run(tmp_path: Path) -> None:
    counts = np.ones(5, np.int64)
    counts[[1, 4]] = 0
    frame = written.frame_of(embeddings="bfloat16", moments="float32")
    run = written.write_run(tmp_path / "run", rows=7, sealed=7, frame=frame, every=10, token_count=counts)
    summary = summarize(closed(run))
    assert (summary.state, summary.writer, summary.rows, summary.journal_rows) == ("complete", None, 7, 0)
    assert (summary.first_step, summary.last_step, summary.gaps, summary.missing) == (0, 60, [], 0)
    assert summary.shape == (7, 5, 3)
    # The matrix that a run is looked at for comes first.
    half, full = summary.matrices
    assert (full.name, full.dtype, full.stored_dtype) == ("moments", "float32", "float32")
    assert (half.name, half.dtype, half.stored_dtype) == ("embeddings", "bfloat16", "float32")
    assert half.shard == (4, 5, 3)
    assert half.chunk == (4, 5, 3)
    assert summary.scalars == ["loss", "learning_rate"]
    assert (summary.store, summary.block_steps) == ("both", 4)
    assert summary.config == {"seed": 0}
    assert summary.tokens is not None
    assert (summary.tokens.live, summary.tokens.dead) == (3, [1, 4])
    assert summary.tokens.dead_labels == ["1", "4"]
    assert json.loads(json.dumps(summary.to_json()))["matrices"][0]["shard"] == [4, 5, 3]


def test_sizes_are_those_on_disk(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=7, sealed=7)
    summary = summarize(closed(run))
    du = {
        name: sum(
            path.stat().st_size for path in [run.path / name, *(run.path / name).rglob("*")] if path.is_file()
        )
        for name in ("trajectory.zarr", "snapshots", "manifest")
    }
    assert summary.bytes == du
    assert summary.total_bytes == sum(du.values())
    assert du["snapshots"] == 7 * summary.image_bytes
    assert summary.ratio == du["snapshots"] / du["trajectory.zarr"]


def test_a_run_without_matrices_in_zarr_has_no_ratio(tmp_path: Path) -> None:
    summary = summarize(closed(written.write_run(tmp_path / "run", rows=3, sealed=3, store="safetensors")))
    assert summary.ratio is None
    assert summary.matrices[0].stored_dtype is None
    assert summary.tokens is None


def test_an_interrupted_run(tmp_path: Path) -> None:
    summary = summarize(written.write_run(tmp_path / "run", rows=7, sealed=4).path)
    assert (summary.state, summary.rows, summary.journal_rows) == ("interrupted", 7, 3)


def test_a_run_that_is_being_written(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=7, sealed=4)
    lock = WriterLock(RunPaths(run.path).lock)
    try:
        summary = summarize(run.path)
    finally:
        lock.release()
    assert summary.state == "recording"
    assert summary.writer is not None
    assert f"process {os.getpid()} on " in summary.writer


def test_looking_does_not_turn_a_writer_away(tmp_path: Path) -> None:
    """A reader that tests the lock holds it for an instant; a writer outlasts that."""
    path = tmp_path / "writer.lock"
    path.touch()
    hold = (
        "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_SH);"
        "print('held', flush=True); time.sleep(0.03)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"held\n"
        WriterLock(path).release()


def test_an_empty_run(tmp_path: Path) -> None:
    summary = summarize(written.write_run(tmp_path / "run", rows=0, sealed=0).path)
    assert (summary.rows, summary.first_step, summary.last_step, summary.ratio) == (0, None, None, None)


def test_gaps_are_ranges(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=0, sealed=0)
    journal = Journal(RunPaths(run.path).journal, writable=True)
    for row, step in enumerate([0, 1, 3, 4, 7, 8, 10**15]):
        written.put(journal, row, step)
    summary = summarize(run.path)
    assert summary.gaps == [[2, 2, 1], [5, 6, 1], [9, 10**15 - 1, 1]]
    assert summary.missing == 10**15 - 6


def names(found: list[RunSummary | BrokenRun], below: Path) -> list[str]:
    return [Path(run.path).relative_to(below).as_posix() for run in found]


def test_runs_are_found_below_a_folder_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b", "a/1", "a/2", "deep/1/2/3"):
        written.write_run(tmp_path / name, rows=2, sealed=2)
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest").write_text("of another program")
    (tmp_path / "other" / "trajectory.zarr").mkdir()
    (tmp_path / "other" / "trajectory.zarr" / "zarr.json").write_text('{"zarr_format": 3}')
    (tmp_path / "circle").symlink_to(tmp_path)
    assert names(list(find_runs(tmp_path, depth=3)), tmp_path) == ["a/1", "a/2", "b"]
    assert names(list(find_runs(tmp_path, depth=4)), tmp_path) == ["a/1", "a/2", "b", "deep/1/2/3"]
    assert names(list(find_runs(tmp_path, depth=1)), tmp_path) == ["b"]
    assert names(list(find_runs(tmp_path / "b", depth=0)), tmp_path) == ["b"]


@pytest.mark.parametrize("part", ["manifest", "trajectory.zarr/zarr.json"])
def test_a_run_that_lost_a_part_is_listed_with_the_reason(tmp_path: Path, part: str) -> None:
    path = closed(written.write_run(tmp_path / "run", rows=2, sealed=2))
    (path / part).unlink()
    (found,) = find_runs(tmp_path, depth=1)
    assert isinstance(found, BrokenRun)
    assert str(path) in found.reason


def test_a_damaged_run_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written.write_run(tmp_path / name, rows=2, sealed=2)
    journal = tmp_path / "a" / "journal"
    journal.write_bytes(journal.read_bytes()[:-1])
    broken, whole = find_runs(tmp_path, depth=1)
    assert isinstance(broken, BrokenRun)
    assert "cut short" in broken.reason
    assert isinstance(whole, RunSummary)
