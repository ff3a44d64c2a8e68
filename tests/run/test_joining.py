"""The runs of several processes become one: whatever each has sealed, and wherever the joining is killed."""

import errno
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo.errors import ArgumentError, NotARunError, RecordingError, RunInUseError
from embevo.run.exchange.merging import inspect_runs, merge_runs
from embevo.run.reading.reader import open_run
from embevo.run.reading.summary import summarize
from embevo.run.repair.compacting import compact, estimate_compaction
from embevo.run.repair.recovery import recover
from embevo.run.repair.rewinding import rewind_to
from embevo.run.repair.verification import verify
from embevo.run.writing import joining, local_sink
from embevo.run.writing.joining import Joiner
from embevo.run.writing.whole import join_all
from support.ranks import BLOCK_STEPS, SHARDS, Ranks, create, values


def check(path: Path, steps: list[int]) -> None:
    """Every reader finds these steps of the whole run, and no others."""
    run, group = open_run(path), zarr.open_group(path / "trajectory.zarr", mode="r")
    assert run.steps.tolist() == steps
    sealed = np.asarray(group["step"][:]).tolist()
    assert sealed == steps[: len(sealed)]
    for name in ("embeddings", "bias"):
        expected = np.array([values(step)[name] for step in steps], np.float32)
        assert np.array_equal(np.asarray(run[name][:]), expected.reshape(run[name].shape))
        assert np.array_equal(np.asarray(group[name][:]), expected[: len(sealed)].reshape(group[name].shape))
    assert run["loss"][:].tolist() == [float(step) for step in steps]


def joined(ranks: Ranks) -> Joiner:
    return join_all(ranks.paths, ranks.layout, SHARDS, sync=False)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(SHARDS.ranks), st.integers(1, 4), st.booleans()), max_size=12),
    st.booleans(),
)
def test_what_all_have_sealed_is_joined_and_what_all_have_captured_is_read(
    tmp_path_factory: pytest.TempPathFactory, captures: list[tuple[int, int, bool]], at_once: bool
) -> None:
    path = tmp_path_factory.mktemp("joined") / "run"
    ranks = create(path)
    for rank, count, flush in captures:
        first = ranks.rows[rank]
        if first + count - ranks.writers[rank].sealer.rows <= BLOCK_STEPS:
            ranks.capture(rank, range(10 * first, 10 * (first + count), 10), flush=flush)
        if not at_once:
            joined(ranks)
    rows = joined(ranks).rows
    assert rows == min(writer.sealer.rows for writer in ranks.writers.values())
    steps = [10 * row for row in range(min(ranks.rows.values()))]
    check(path, steps)
    with pytest.raises(RunInUseError, match="process"):
        recover(path)
    ranks.leave()
    done = recover(path)
    assert len(done.ahead) == sum(captured > len(steps) for captured in ranks.rows.values())
    check(path, steps)
    assert verify(path, deep=True).problems == []
    assert summarize(path).state == "complete"


def test_the_last_to_end_leaves_a_whole_run(tmp_path: Path) -> None:
    for place, order in enumerate([(0, 1, 3), (3, 1, 0), (1, 0, 3)]):
        path = tmp_path / str(place)
        ranks = create(path, joins=True)
        for rank in SHARDS.ranks:
            ranks.capture(rank, range(5))
        for rank in order:
            assert summarize(path).state != "complete"
            ranks.close(rank)
        check(path, list(range(5)))
        assert np.asarray(zarr.open_group(path / "trajectory.zarr")["step"][:]).tolist() == list(range(5))
        assert summarize(path).state == "complete"
        assert verify(path, deep=True).ok


def test_what_would_part_the_pieces_is_refused_and_the_way_around_works(tmp_path: Path) -> None:
    path = tmp_path / "run"
    ranks = create(path, joins=True)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(5))
        ranks.close(rank)
    for refused in (
        lambda: rewind_to(path, 2),
        lambda: compact(path),
        lambda: estimate_compaction(path),
    ):
        with pytest.raises(ArgumentError, match=f"embevo merge {path} --out"):
            refused()
        check(path, list(range(5)))
    merge_runs(inspect_runs([path]), tmp_path / "one")
    check(tmp_path / "one", list(range(5)))
    rewind_to(tmp_path / "one", 2)
    compact(tmp_path / "one")
    assert open_run(tmp_path / "one").steps.tolist() == [0, 1, 2]


def test_a_run_that_a_process_still_records_is_not_recorded_over(tmp_path: Path) -> None:
    """Also when the one that joins has ended, and nobody has the lock of the whole run."""
    ranks = create(tmp_path / "run", joins=True)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(5))
    ranks.close(0)
    with pytest.raises(RunInUseError, match=r"ranks/00001 is being written by"):
        create(tmp_path / "run", overwrite=True)
    for rank in (1, 3):
        ranks.capture(rank, [5])
        ranks.close(rank)
    check(tmp_path / "run", list(range(5)))
    create(tmp_path / "run", overwrite=True).leave()


def test_the_first_joins_while_all_record(tmp_path: Path) -> None:
    ranks = create(tmp_path / "run", joins=True)
    for rank in reversed(SHARDS.ranks):
        ranks.capture(rank, range(BLOCK_STEPS))
    while True:
        group = zarr.open_group(tmp_path / "run" / "trajectory.zarr", mode="r")
        if len(np.asarray(group["step"][:])) == BLOCK_STEPS:
            break
    check(tmp_path / "run", list(range(BLOCK_STEPS)))
    for rank in SHARDS.ranks:
        ranks.close(rank)


@pytest.mark.parametrize(("rank", "at"), [(0, 0), (1, 0), (3, 0), (3, 5)])
def test_a_block_that_a_process_seals_longer_meanwhile_is_joined_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, at: int
) -> None:
    """Its files are replaced after they were looked up, and before they have their second name."""
    ranks = create(tmp_path / "run")
    for each in SHARDS.ranks:
        ranks.capture(each, range(2), flush=True)
    put_beside, count = joining.put_beside, 0

    def meanwhile(*arguments: Any, **options: Any) -> None:
        nonlocal count
        if count == at:
            ranks.capture(rank, [2])
        count += 1
        put_beside(*arguments, **options)

    monkeypatch.setattr(joining, "put_beside", meanwhile)
    assert joined(ranks).rows in (0, 2)
    assert count > at
    assert joined(ranks).rows == 2
    check(tmp_path / "run", [0, 1])
    ranks.leave()
    assert verify(tmp_path / "run", deep=True).problems == []


@pytest.mark.parametrize("rank", SHARDS.ranks)
def test_a_block_that_is_entered_and_whose_files_are_not_there_yet_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    ranks = create(tmp_path / "run")
    for each in SHARDS.ranks:
        ranks.capture(each, range(2), flush=True)

    write_file = local_sink.write_file

    def late(path: Any, *arguments: Any, **options: Any) -> None:
        if "snapshots" not in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write_file(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(local_sink, "write_file", late)
        with pytest.raises(OSError, match="Input/output error"):
            ranks.capture(rank, [2])
    assert joined(ranks).rows == 0
    check(tmp_path / "run", [0, 1])
    ranks.writers[rank].sealer.seal(ranks.writers[rank].journal, 3)
    assert joined(ranks).rows == 2
    check(tmp_path / "run", [0, 1])
    ranks.leave()


def test_where_the_disk_of_one_process_is_full_the_others_go_on_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    ranks = create(path, joins=True)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(BLOCK_STEPS))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(ranks.writers[1].sealer.sinks[0], "block", full)
    with pytest.raises(OSError, match="No space"):
        ranks.capture(1, range(BLOCK_STEPS, 2 * BLOCK_STEPS))
    # The others have rings of two blocks, and leave none of theirs waiting in it.
    for rank in (0, 3):
        ranks.capture(rank, range(BLOCK_STEPS, 6 * BLOCK_STEPS))
        assert ranks.writers[rank].sealer.rows == 6 * BLOCK_STEPS
        ranks.close(rank)
    assert open_run(path).steps.tolist() == list(range(2 * BLOCK_STEPS))
    assert len(np.asarray(zarr.open_group(path / "trajectory.zarr", mode="r")["step"][:])) == BLOCK_STEPS
    assert summarize(path).state != "complete"
    ranks.leave()
    done = recover(path)
    assert [line.partition(" on ")[0] for line in done.ahead] == ["rank 0", "rank 3"]
    assert all("had 12 more steps: 6..17" in line for line in done.ahead)
    check(path, list(range(2 * BLOCK_STEPS)))
    assert verify(path, deep=True).problems == []


def test_processes_of_other_steps_are_named(tmp_path: Path) -> None:
    ranks = create(tmp_path / "run")
    for rank in SHARDS.ranks:
        ranks.capture(rank, [0, 1, 3 if rank == 1 else 2])
    with pytest.raises(RecordingError, match=r"rank 0 on node0 .* rank 1 on node1 "):
        joined(ranks)
    ranks.leave()


def test_where_files_cannot_have_two_names_they_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    ranks = create(tmp_path / "run")
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(5), flush=True)
    joined(ranks)
    ranks.leave()
    check(tmp_path / "run", list(range(5)))
    assert (tmp_path / "run/trajectory.zarr/embeddings/c.0.1.0").stat().st_nlink == 1
    assert verify(tmp_path / "run", deep=True).problems == []


def test_the_run_of_a_process_leads_to_the_whole(tmp_path: Path) -> None:
    ranks = create(tmp_path / "run")
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(4))
    ranks.leave()
    assert recover(ranks.paths.rank(3).root).path == tmp_path / "run"
    check(tmp_path / "run", list(range(4)))
    with pytest.raises(NotARunError):
        recover(tmp_path / "run" / "ranks")


@pytest.mark.parametrize("damage", ["a bit", "all of it"])
def test_a_manifest_of_the_whole_is_rebuilt_as_those_of_the_processes_prove_it(
    tmp_path: Path, damage: str
) -> None:
    ranks = create(tmp_path / "run", joins=True)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(8))
    for rank in SHARDS.ranks:
        ranks.close(rank)
    manifest = ranks.paths.manifest
    lines = manifest.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"rows", b"sows")
    manifest.write_bytes(b"".join(lines))
    if damage == "all of it":
        manifest.unlink()
    done = recover(tmp_path / "run")
    assert done.rebuilt == ["manifest"]
    assert not any("chunks of steps" in what for what in done.unproven), done.unproven
    assert verify(tmp_path / "run", deep=True).problems == []
    check(tmp_path / "run", list(range(8)))


@pytest.mark.parametrize("rows", [0, 3])
def test_a_process_without_a_run_is_wrong_only_where_the_whole_has_steps(tmp_path: Path, rows: int) -> None:
    ranks = create(tmp_path / "run")
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(rows))
    ranks.leave()
    recover(tmp_path / "run")
    own = ranks.paths.rank(1).root
    shutil.rmtree(own)
    (own / ".embevo-new").mkdir(parents=True)
    assert recover(tmp_path / "run").ok
    problems = verify(tmp_path / "run", deep=True).problems
    assert [problem.file for problem in problems] == (["ranks/00001"] if rows else [])


CALLS = frozenset({"open", "os.link", "os.rename", "os.remove", "os.truncate", "os.mkdir"})


def killed_at(call: int, work: Any) -> bool:
    """Do something in a child that is killed before its n-th call that changes the disk; whether it was."""
    child = os.fork()
    if child == 0:
        left = call

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
            if event in CALLS and writes:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("what", ["joining", "recovering"])
def test_killed_at_any_call_it_is_a_prefix_and_recovered_all_there(tmp_path: Path, what: str) -> None:
    call = 0
    while True:
        path = tmp_path / str(call)
        ranks = create(path)
        for rank in SHARDS.ranks:
            ranks.capture(rank, range(2), flush=True)
        joined(ranks)
        for rank in SHARDS.ranks:
            # A short block is sealed anew with more rows, and a block follows.
            ranks.capture(rank, range(2, 8 if rank else 7), flush=what == "joining")
        if what == "recovering":
            ranks.leave()
        killed = killed_at(call, lambda: joined(ranks) if what == "joining" else recover(path))  # noqa: B023
        if what == "joining":
            check(path, list(range(7)))
        ranks.leave()
        recover(path)
        check(path, list(range(7)))
        assert verify(path, deep=True).problems == []
        if not killed:
            break
        call += 1 if call < 3 else 6
    assert call > 12
