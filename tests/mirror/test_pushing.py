"""What lies in object storage is a part of the run, at any moment, in whatever order things were written."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo

from embevo.errors import RunExistsError, RunInUseError, StorageError
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.patience import Patience
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.compacting import compact
from embevo.run.repair.recovery import recover
from embevo.run.repair.rewinding import rewind_to
from support import stored, written
from support.faulty_proxy import FaultyProxy, Request


def run_of(path: Path, rows: int, **options: object) -> written.WrittenRun:
    run = written.write_run(path, rows=rows, sealed=rows, **options)  # type: ignore[arg-type]
    run.journal.close()
    (path / "journal").unlink()
    return run


def push(path: Path, url: str) -> Pusher:
    pusher = Pusher(RunPaths(path), Bucket(url, Patience(20, first=0.01)))
    pusher.push()
    return pusher


def assert_same(path: Path, url: str) -> None:
    steps, values = stored.values(url)
    run = open_run(path)
    assert steps == run.steps.tolist()
    np.testing.assert_array_equal(values, run["embeddings"][:])


def test_a_block_goes_chunks_first_then_its_piece_then_the_group(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    run_of(tmp_path / "run", 8)
    push(tmp_path / "run", url)
    assert_same(tmp_path / "run", url)
    puts = proxy.puts()
    assert puts[0] == "writer.json"
    for block, piece in ((0, "manifest/00000001"), (1, "manifest/00000002")):
        chunks = [place for place, key in enumerate(puts) if f"/c.{block}" in key and "token" not in key]
        groups = [place for place, key in enumerate(puts) if key == "trajectory.zarr/zarr.json"]
        assert max(chunks) < puts.index(piece) < groups[block + 1]
        # The arrays' own metadata lies between the two.
        between = puts[puts.index(piece) + 1 : groups[block + 1]]
        assert all(key.endswith("/zarr.json") for key in between)
        assert "trajectory.zarr/embeddings/zarr.json" in between
    # Nothing is put without saying what must be there before.
    assert all(request.conditions for request in proxy.requests if request.method == "PUT")
    # What is there is not sent again.
    before = len(proxy.puts())
    push(tmp_path / "run", url)
    assert proxy.puts()[before:] == ["writer.json"]


def test_a_short_last_block_becomes_longer_with_the_manifest_ahead(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=6)
    push(tmp_path / "run", url)
    for row in (6, 7):
        run.sealer.snapshot(run.journal, row)
    run.sealer.seal(run.journal, 8)
    run.journal.close()
    before = len(proxy.puts())
    push(tmp_path / "run", url)
    puts = [key for key in proxy.puts()[before:] if "manifest/" in key or "embeddings/c.1" in key]
    assert puts[0].startswith("manifest/")
    assert_same(tmp_path / "run", url)


def test_after_rewinding_compacting_and_annotating_it_is_the_run_again(tmp_path: Path, url: str) -> None:
    run_of(tmp_path / "run", 10)
    push(tmp_path / "run", url)
    assert rewind_to(tmp_path / "run", 5) == 4
    push(tmp_path / "run", url)
    assert_same(tmp_path / "run", url)
    compact(tmp_path / "run")
    push(tmp_path / "run", url)
    assert_same(tmp_path / "run", url)
    there = stored.objects(url)
    whole = b"".join(there[key] for key in sorted(there) if key.startswith("manifest/"))
    assert whole == (tmp_path / "run" / "manifest").read_bytes()


@pytest.mark.parametrize("server", ["moto", "localbucket"], indirect=True)
@pytest.mark.parametrize("fate", ["cut", "lose", "busy"])
def test_whatever_befalls_single_requests_all_of_it_arrives(
    tmp_path: Path, url: str, proxy: FaultyProxy, fate: str
) -> None:
    run_of(tmp_path / "run", 10)
    # Every request fails the first time that it is made.
    seen: set[Request] = set()

    def once(request: Request) -> str:
        if request in seen:
            return "pass"
        seen.add(request)
        return fate

    proxy.fate = once  # type: ignore[assignment]
    push(tmp_path / "run", url)
    proxy.fate = lambda _: "pass"
    assert len(seen) > 20
    assert_same(tmp_path / "run", url)


def test_cut_off_after_any_request_it_is_a_part_of_the_run(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    """Every state in between, also of rows that were taken back and of blocks that were replaced."""
    path = tmp_path / "run"
    run_of(path, 6)
    shown: set[int] = set()
    first = open_run(path)["embeddings"][:]
    for change in (lambda: None, lambda: rewind_to(path, 2), lambda: compact(path)):
        change()
        for puts in count(4, 5):
            left = [puts]

            def until(request: Request, left: list[int] = left) -> str:
                if request.method == "PUT":
                    left[0] -= 1
                return "pass" if left[0] >= 0 else "cut"

            proxy.fate = until  # type: ignore[assignment]
            try:
                Pusher(RunPaths(path), Bucket(url, Patience(0))).push()
                done = True
            except StorageError:
                done = False
            proxy.fate = lambda _: "pass"
            if "trajectory.zarr/zarr.json" in Bucket(url).sizes("trajectory.zarr/"):
                steps, values = stored.values(url)
                shown.add(len(steps))
                np.testing.assert_array_equal(values, first[: len(steps)])
            if done:
                break
    assert shown >= {3, 6}


def test_between_any_two_writes_it_is_a_part_of_the_run(tmp_path: Path, url: str, proxy: FaultyProxy) -> None:
    path = tmp_path / "run"
    run_of(path, 6)
    first = open_run(path)["embeddings"][:]
    wrong: list[str] = []
    shown: list[int] = []

    def looked_at(request: Request) -> str:
        if request.method == "PUT" and "trajectory.zarr/zarr.json" in Bucket(url).sizes("trajectory.zarr/"):
            steps, values = stored.values(url)
            shown.append(len(steps))
            if values.tobytes() != first[: len(steps)].tobytes():
                wrong.append(request.path)
        return "pass"

    for change in (lambda: None, lambda: rewind_to(path, 2), lambda: compact(path)):
        change()
        proxy.fate = looked_at  # type: ignore[assignment]
        push(path, url)
        proxy.fate = lambda _: "pass"
    assert wrong == []
    assert set(shown) == {0, 3, 4, 6}


def test_another_run_is_refused_and_what_is_there_untouched(tmp_path: Path, url: str) -> None:
    run_of(tmp_path / "run", 6)
    run_of(tmp_path / "other", 6)
    push(tmp_path / "run", url)
    before = stored.objects(url)
    with pytest.raises(RunExistsError, match="another run"):
        push(tmp_path / "other", url)
    assert stored.objects(url) == before


def test_who_is_taken_over_notices_and_stops(tmp_path: Path, url: str) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=4)
    earlier = push(tmp_path / "run", url)
    push(tmp_path / "run", url)
    for row in range(4, 8):
        run.sealer.snapshot(run.journal, row)
    run.sealer.seal(run.journal, 8)
    run.journal.close()
    before = stored.objects(url)
    with pytest.raises(RunInUseError, match="taken over by process"):
        earlier.push()
    assert stored.objects(url) == before


def test_the_command_sends_compares_and_says_what_is_damaged_there(tmp_path: Path, url: str) -> None:
    run_of(tmp_path / "run", 6)
    done = CliRunner().invoke(embevo, ["push", str(tmp_path / "run"), url, "--verify", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["steps"] == 6
    key = "trajectory.zarr/embeddings/c.0.0.0"
    bucket = Bucket(url)
    there = bucket.get(key)
    assert there is not None
    bucket.replace(key, there.data[:-1] + b"x", there.tag)
    damaged = CliRunner().invoke(embevo, ["push", str(tmp_path / "run"), url, "--verify"])
    assert damaged.exit_code == 2
    assert f"{url}/{key} is not what was sent" in damaged.stderr
    # What has another length, or is gone, is noticed without reading it, and sent again.
    bucket.delete(key)
    again = CliRunner().invoke(embevo, ["push", str(tmp_path / "run"), url, "--verify"])
    assert again.exit_code == 0, again.output
    assert_same(tmp_path / "run", url)


def test_what_is_not_sealed_is_said_not_to_be_there(tmp_path: Path, url: str) -> None:
    """Whoever deletes the run after a push must know that some of it is nowhere else."""
    written.write_run(tmp_path / "run", rows=6, sealed=4).journal.close()
    pushed = CliRunner().invoke(embevo, ["push", str(tmp_path / "run"), url])
    assert pushed.exit_code == 0
    assert "shows 4 steps" in pushed.output
    assert f"NOT SENT: 2 more steps, which are not sealed. If nobody records {tmp_path}" in pushed.output
    assert f"embevo recover {tmp_path / 'run'} seals" in pushed.output
    told = CliRunner().invoke(embevo, ["push", str(tmp_path / "run"), url, "--json"])
    assert json.loads(told.stdout)["in_journal_only"] == 2
    recover(tmp_path / "run")
    again = CliRunner().invoke(embevo, ["push", str(tmp_path / "run"), url])
    assert "shows 6 steps" in again.output
    assert "NOT SENT" not in again.output
