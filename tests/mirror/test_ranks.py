"""A run that several processes record is sent by the one that joins it, and its end by the last of them."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from embevo.errors import ArgumentError, StorageError
from embevo.recording.sharded import Part
from embevo.run.cloud import patience
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.patience import Patience
from embevo.run.mirroring.pulling import pull
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import stored
from support.faults import ranks as forked
from support.faulty_proxy import Fate, FaultyProxy, Request
from support.ranks import BLOCK_STEPS, SHARDS, create, values

both_servers = pytest.mark.parametrize("server", ["moto", "localbucket"], indirect=True)


@pytest.fixture(autouse=True)
def _quickly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONGEST_SECONDS", 0.05)


def prefix_at(url: str, of: Any = values) -> list[int]:
    """The steps that plain zarr and embevo see at a URL, all of them right."""
    group, run = stored.group(url), open_run(url)
    steps: list[int] = np.asarray(group["step"][:]).tolist()
    assert steps == run.steps.tolist() == list(range(len(steps)))
    for name in ("embeddings", "bias"):
        expected = np.array([numbers(of(step)[name]) for step in steps], np.float32)
        for found in (group[name], run[name]):
            assert np.array_equal(np.asarray(found[:]), expected.reshape(found.shape)), name
    return steps


def numbers(array: Any) -> Any:
    return array.float().numpy() if isinstance(array, Tensor) else np.asarray(array, np.float32)


@both_servers
@pytest.mark.parametrize("order", [(0, 1, 3), (3, 1, 0)], ids=["the first ends first", "the first ends last"])
def test_blocks_arrive_while_all_record_and_the_rest_when_the_last_has_ended(
    tmp_path: Path, url: str, order: tuple[int, ...]
) -> None:
    ranks = create(tmp_path / "run", joins=True, mirror=url)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(BLOCK_STEPS))
    while ranks.mirrors[0].stats.rows < BLOCK_STEPS:
        pass
    assert prefix_at(url) == list(range(BLOCK_STEPS))
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(BLOCK_STEPS, 2 * BLOCK_STEPS + 1))
    for rank in order:
        ranks.close(rank)
    assert prefix_at(url) == list(range(2 * BLOCK_STEPS + 1))
    # Whoever came last has sent what was not there, and nothing a second time.
    assert sum(mirror.stats.sent_bytes > 0 for mirror in ranks.mirrors.values()) == (
        2 if order[0] == 0 else 1
    )


def fated(fates: dict[int, Fate]) -> Any:
    """What becomes of the n-th write."""
    count = 0

    def fate(request: Request) -> Fate:
        nonlocal count
        count += request.method == "PUT"
        return fates.get(count, "pass") if request.method == "PUT" else "pass"

    return fate


@both_servers
@pytest.mark.parametrize("what", ["cut", "lose", "busy"])
def test_a_write_that_is_cut_lost_or_refused_is_made_again(
    tmp_path: Path, url: str, proxy: FaultyProxy, what: Fate
) -> None:
    proxy.fate = fated(dict.fromkeys(range(1, 200, 7), what))
    ranks = create(tmp_path / "run", joins=True, mirror=url)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(BLOCK_STEPS + 1))
    for rank in SHARDS.ranks:
        ranks.close(rank)
    proxy.fate = lambda _: "pass"
    assert sum(mirror.stats.retries for mirror in ranks.mirrors.values()) >= 3
    assert prefix_at(url) == list(range(BLOCK_STEPS + 1))


@both_servers
@pytest.mark.parametrize("meanwhile", ["busy", "hold"])
def test_the_last_takes_over_while_the_first_still_sends(
    tmp_path: Path, url: str, proxy: FaultyProxy, meanwhile: Fate
) -> None:
    """Nothing of the first arrives until then, or one write, late: after the last has sent everything."""
    claims: list[Request] = []
    held: list[Request] = []

    def fate(request: Request) -> Fate:
        if request.method != "PUT" or len(claims) > 1:
            return "pass"
        if request.path.endswith("writer.json"):
            claims.append(request)
            return "pass"
        held.append(request)
        return meanwhile if len(held) == 1 else "busy"

    proxy.fate = fate
    ranks = create(tmp_path / "run", joins=True, mirror=url)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(2 * BLOCK_STEPS + 1))
    with ThreadPoolExecutor(1) as other:
        first = other.submit(ranks.close, 0)
        while not (ranks.mirrors[0]._handed_over and held):
            time.sleep(0.001)
        ranks.close(1)
        ranks.close(3)
        assert len(claims) == 2
        assert prefix_at(url) == list(range(2 * BLOCK_STEPS + 1))
        proxy.let_go.set()
        first.result()
    assert ranks.mirrors[0].stats.stopped
    assert prefix_at(url) == list(range(2 * BLOCK_STEPS + 1))
    assert verify(pull(url, tmp_path / "here"), deep=True).ok


def test_cut_off_after_any_number_of_writes_it_is_a_prefix_that_a_push_completes(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    ranks = create(tmp_path / "run", joins=True)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(2 * BLOCK_STEPS + 1))
        ranks.close(rank)
    seen, writes = set(), 0
    while True:
        there = f"{url}-{writes}"
        proxy.fate = fated(dict.fromkeys(range(writes + 1, writes + 1000), "cut"))
        pusher = Pusher(ranks.paths, Bucket(there, Patience(0)))
        try:
            pusher.push()
            break
        except StorageError:
            pass
        proxy.fate = lambda _: "pass"
        if Bucket(there).get("trajectory.zarr/zarr.json") is not None:
            seen.add(len(prefix_at(there)))
        Pusher(ranks.paths, Bucket(there, Patience(5))).push()
        assert len(prefix_at(there)) == 2 * BLOCK_STEPS + 1
        writes += 9
    assert seen >= {0, 3, 6}


def test_it_is_pulled_verified_and_pushed_on_and_resumed_only_where_its_parts_are(
    tmp_path: Path, url: str
) -> None:
    ranks = create(tmp_path / "run", joins=True, mirror=url)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(5))
        ranks.close(rank)
    here = pull(url, tmp_path / "here")
    assert verify(here, deep=True).ok
    found = open_run(here)
    assert np.array_equal(found["embeddings"][:], open_run(tmp_path / "run")["embeddings"][:])
    assert recover(here).ok
    assert Pusher(RunPaths(here), Bucket(url)).push() == 5


RECORD = """
import json, sys
from support.faults.rig_server import run_ranks
print(json.dumps(run_ranks(json.loads(sys.argv[1]))))
"""


def record(path: Path, plan: forked.RanksPlan, **options: Any) -> dict[str, Any]:
    """Have processes with recorders of their own record; the interpreter that forks them has no thread."""
    path_of_tests = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            RECORD,
            json.dumps({"path": str(path), "ranks": asdict(plan), "options": options}),
        ],
        env=os.environ | {"PYTHONPATH": path_of_tests, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert not found["hung"]
    return found


def test_recorders_send_what_they_record_together_and_a_push_what_a_kill_has_left(
    tmp_path: Path, url: str
) -> None:
    plan = forked.RanksPlan(mirror=url, flush_at=(4,))
    ended = record(tmp_path / "run", plan, die=True)
    assert ended["captured"] == [10, 10]
    # The metadata of the group is what comes last: without it, the kill was before all of it.
    if Bucket(url).get("trajectory.zarr/zarr.json") is not None:
        assert prefix_at(url, forked.values) in ([0, 1, 2, 3], list(range(8)), [])
    recover(tmp_path / "run")
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    assert prefix_at(url, forked.values) == list(range(10))
    ended = record(tmp_path / "run", forked.RanksPlan(mirror=url, steps=13, flush_at=()), resume=True)
    assert ended["raised"] == [[], []], ended
    assert prefix_at(url, forked.values) == list(range(13))


class OneOfTwo(Part):
    """A part whose other process has named no place."""

    def everyone(self, value: Any) -> list[Any]:
        return [[0, "node0", value], [1, "node1", None]]


def test_all_processes_name_the_same_place() -> None:
    with pytest.raises(ArgumentError, match="mirror is None in rank 1 on node1 and 's3://bucket/run'"):
        OneOfTwo(0, "node0", None, {}).check_same("mirror", "s3://bucket/run")
