"""Only the runs of a whole run's own processes are joined: of each its own, and of its present state."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from embevo.errors import DamagedError, FrameMismatchError
from embevo.run.disk.lock import WriterLock
from embevo.run.format.shards import Piece, Shards
from embevo.run.format.token_names import Annotations
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.resuming import resume
from embevo.run.repair.resuming_ranks import resume_whole
from embevo.run.repair.verification import verify
from embevo.run.writing.whole import mark_unjoined
from support.ranks import BLOCK_STEPS, FRAME, SHARDS, Ranks, create, reopen, values


def recorded(path: Path, rows: int) -> Ranks:
    """A run of three processes that were killed: whole blocks are sealed, and none is joined."""
    ranks = create(path)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(rows))
    ranks.leave()
    return ranks


def assert_right(path: Path, rows: int) -> None:
    run, group = open_run(path), zarr.open_group(path / "trajectory.zarr", mode="r")
    assert run.steps.tolist() == np.asarray(group["step"][:]).tolist() == list(range(rows))
    for name in ("embeddings", "bias"):
        expected = np.array([values(step)[name] for step in range(rows)], np.float32)
        assert np.array_equal(np.asarray(run[name][:]), expected.reshape(run[name].shape))


OTHERS = {
    "of another training": r"ranks/00001 is the run of rank 1 of another training, and that of rank 1",
    "of another rank": r"ranks/00001 is the run of rank 0, and that of rank 1",
    "of one process": r"ranks/00001 is not the run of one process of several, and that of rank 1",
}


@pytest.mark.parametrize("joined", [False, True], ids=["interrupted", "complete"])
@pytest.mark.parametrize("other", list(OTHERS))
def test_the_run_of_another_is_not_taken_for_that_of_a_process(
    tmp_path: Path, other: str, *, joined: bool
) -> None:
    """Two trainings with the same arrays, divided alike, and the same attributes."""
    ranks = recorded(tmp_path / "run", 5)
    recorded(tmp_path / "other", 5)
    if joined:
        recover(tmp_path / "run")
    own = ranks.paths.rank(1).root
    own.rename(tmp_path / "aside")
    place = tmp_path / "other"
    if other == "of another training":
        place = place / "ranks" / "00001"
    elif other == "of another rank":
        place = tmp_path / "run" / "ranks" / "00000"
    shutil.copytree(place, own)
    if joined:
        # All is joined, and complete: what is read is what was joined.
        assert_right(tmp_path / "run", 5)
        (problem,) = [each for each in verify(tmp_path / "run").problems if "expected" in each.what]
        assert problem.file == "ranks/00001"
    else:
        with pytest.raises(DamagedError, match=OTHERS[other]):
            open_run(tmp_path / "run")
    with pytest.raises(DamagedError, match=OTHERS[other]):
        recover(tmp_path / "run")
    # As the message says: without it, and with the right one in its place.
    shutil.rmtree(own)
    recover(tmp_path / "run")
    assert_right(tmp_path / "run", 5 if joined else 0)
    (tmp_path / "aside").rename(own)
    recover(tmp_path / "run")
    assert_right(tmp_path / "run", 5)
    assert verify(tmp_path / "run", deep=True).problems == []


@pytest.mark.parametrize("rank", SHARDS.ranks)
def test_the_run_of_a_process_from_before_a_rewind_is_not_joined_to_what_came_after(
    tmp_path: Path, rank: int
) -> None:
    """All go on from one row in two trainings; of the earlier one, the run of one process comes back."""
    path, earlier = tmp_path / "run", tmp_path / "earlier"
    recorded(path, BLOCK_STEPS)
    recover(path)
    shutil.copytree(path, earlier)
    for place, seed in ((earlier, 7), (path, 0)):
        ranks = reopen(place)
        for each in SHARDS.ranks:
            ranks.capture(each, range(BLOCK_STEPS, 3 * BLOCK_STEPS - 1), seed=seed, flush=True)
        ranks.leave()
    recover(path)
    assert_right(path, 3 * BLOCK_STEPS - 1)
    for place, seed in ((earlier, 7), (path, 0)):
        ranks = reopen(place)
        for each in SHARDS.ranks:
            ranks.capture(each, range(3 * BLOCK_STEPS - 1, 4 * BLOCK_STEPS), seed=seed)
        ranks.leave()
    own = ranks.paths.rank(rank).root
    own.rename(tmp_path / "newer")
    shutil.copytree(earlier / "ranks" / own.name, own)
    mark_unjoined(ranks.paths, sync=False)
    with pytest.raises(DamagedError, match=rf"The run of rank {rank} on node{rank} below .* earlier state"):
        recover(path)
    shutil.rmtree(own)
    recover(path)
    assert_right(path, 3 * BLOCK_STEPS - 1)
    (tmp_path / "newer").rename(own)
    recover(path)
    assert_right(path, 4 * BLOCK_STEPS)
    assert verify(path, deep=True).problems == []


@pytest.mark.parametrize("other", ["more processes", "another division", "another mesh", "one process"])
def test_a_run_is_gone_on_with_by_as_many_processes_that_divide_it_alike(tmp_path: Path, other: str) -> None:
    run = recorded(tmp_path / "run", 4).paths.root
    first, second, third = SHARDS.pieces["embeddings"]
    told = {
        "more processes": replace(SHARDS, world=5),
        "another division": replace(
            SHARDS,
            pieces={
                **SHARDS.pieces,
                "embeddings": (first, Piece(1, (4, 0), (2, 4)), Piece(3, (6, 0), (5, 4))),
            },
        ),
        "another mesh": replace(
            SHARDS,
            pieces={
                **SHARDS.pieces,
                "embeddings": (first, replace(second, rank=2), third),
            },
        ),
    }
    if other == "one process":
        with pytest.raises(FrameMismatchError, match="was recorded by 3 of 4 processes"):
            resume(RunPaths(run), FRAME, sync=False)
        return
    told[other].check(FRAME)
    with pytest.raises(FrameMismatchError, match=r"was begun by .* processes.*Resume it with as many"):
        resume_whole(RunPaths(run), FRAME, told[other], annotations=Annotations(), rewind_to=None, sync=False)
    # It lets go of the run.
    WriterLock(RunPaths(run).lock).release()
    assert open_run(run).steps.tolist() == list(range(4))


def test_a_rank_that_the_training_does_not_have_is_refused() -> None:
    pieces = {**SHARDS.pieces, "bias": (Piece(4, (0,), (11,)),)}
    Shards(5, pieces).check(FRAME)
    with pytest.raises(ValueError, match="bias has a piece of rank 4, of 4 processes from rank 0 on"):
        Shards(4, pieces).check(FRAME)


@pytest.mark.parametrize(("rank", "row"), [(0, 0), (1, 1), (1, 2), (3, 3), (0, 4)])
def test_what_all_have_recorded_alike_is_kept_where_one_has_left_a_step_out(
    tmp_path: Path, rank: int, row: int
) -> None:
    path = tmp_path / "run"
    ranks = create(path)
    for each in SHARDS.ranks:
        steps = [step for step in range(9) if each != rank or step != row]
        ranks.capture(each, steps)
    ranks.leave()
    for how in ("before", "after"):
        assert open_run(path).steps.tolist() == list(range(row)), how
        if how == "before":
            (problem,) = verify(path).problems
            assert problem.file == "ranks"
            assert f"from row {row} on, rank 0 has captured steps" in problem.what
            done = recover(path)
            assert len(done.lost) == 1
            assert f"from row {row} on, rank 0 on node0 has recorded steps" in done.lost[0]
            assert len(done.ahead) == len(SHARDS.ranks)
    assert_right(path, row)
    assert recover(path).ok is False
    for each in SHARDS.ranks:
        assert len(open_run(ranks.paths.rank(each).root).steps) == (8 if each == rank else 9)
    # Resumed, all of them go on from there; what is only in the runs of processes gives way.
    lock, _, keep = resume_whole(
        ranks.paths, FRAME, SHARDS, annotations=Annotations(), rewind_to=None, sync=False
    )
    lock.release()
    assert keep == row - 1
    resumed = reopen(path, keep=keep)
    for each in SHARDS.ranks:
        resumed.capture(each, range(row, 9))
    resumed.leave()
    recover(path)
    assert_right(path, 9)
    assert verify(path, deep=True).problems == []


def test_the_ring_of_another_training_is_not_taken_for_that_of_a_process(tmp_path: Path) -> None:
    """Of the same arrays and attributes, and the same rank."""
    ranks, other = recorded(tmp_path / "run", 5), recorded(tmp_path / "other", 5)
    ring = ranks.paths.rank(1).journal
    ring.rename(tmp_path / "aside")
    shutil.copyfile(other.paths.rank(1).journal, ring)
    for attempt in (open_run, recover):
        with pytest.raises(DamagedError, match="belongs to another run, one with other attributes"):
            attempt(tmp_path / "run")
    (tmp_path / "aside").replace(ring)
    recover(tmp_path / "run")
    assert_right(tmp_path / "run", 5)
