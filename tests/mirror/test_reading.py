"""A run at a URL is read where it is, brought back whole, and verified."""

import multiprocessing
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo as command

import embevo
from embevo.errors import DamagedError, NotARunError, RunExistsError, StorageRefusedError
from embevo.run.cloud.bucket import Bucket
from embevo.run.format.layout import Store
from embevo.run.mirroring.pulling import pull
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.compacting import compact
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import written
from support.faulty_proxy import FaultyProxy


def sent_run(path: Path, url: str, rows: int = 14, store: Store = "both") -> written.WrittenRun:
    run = written.write_run(path, rows=rows, sealed=rows, store=store, token_count=np.arange(5))
    Pusher(RunPaths(path), Bucket(url)).push()
    return run


@pytest.mark.parametrize("store", ["both", "safetensors"])
def test_only_the_blocks_that_are_read_are_fetched(
    tmp_path: Path, url: str, proxy: FaultyProxy, store: Store
) -> None:
    sent_run(tmp_path / "run", url, store=store).journal.close()
    before = len(proxy.gets())
    run = open_run(url)
    assert run.steps.tolist() == list(range(14))
    assert not [key for key in proxy.gets()[before:] if "/c." in key or "step_" in key]
    before = len(proxy.requests)
    there = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run["embeddings"][5:7], there["embeddings"][5:7])
    fetched = [request.path.rpartition("run/")[2] for request in proxy.requests[before:]]
    if store == "both":
        assert fetched == ["trajectory.zarr/embeddings/c.1.0.0"]
    else:
        assert fetched == [f"snapshots/step_{step:07d}.safetensors" for step in (5, 6)]
    # What was read is not fetched again, nor is anything else for another row of the block.
    before = len(proxy.requests)
    np.testing.assert_array_equal(run["embeddings"][5], there["embeddings"][5])
    assert len(proxy.requests) == before
    assert run.tokens is not None
    np.testing.assert_array_equal(run["loss"][:], there["loss"][:])
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again["embeddings"][:], there["embeddings"][:])


def test_what_was_sent_since_is_taken_in(tmp_path: Path, url: str) -> None:
    written_run = written.write_run(tmp_path / "run", rows=8, sealed=6)
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    run = open_run(url)
    first = run["embeddings"][:]
    assert len(first) == 6
    for row in (6, 7):
        written_run.sealer.snapshot(written_run.journal, row)
    written_run.sealer.seal(written_run.journal, 8)
    written_run.journal.close()
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    run.refresh()
    np.testing.assert_array_equal(run["embeddings"][:], open_run(tmp_path / "run")["embeddings"][:])
    np.testing.assert_array_equal(run["embeddings"][:6], first)


@pytest.mark.parametrize("store", ["both", "zarr", "safetensors"])
def test_brought_back_it_is_the_run_to_the_last_file(tmp_path: Path, url: str, store: Store) -> None:
    run = sent_run(tmp_path / "run", url, store=store)
    run.journal.close()
    (tmp_path / "run" / "journal").unlink()
    back = embevo.pull(url, tmp_path / "back")

    def files(root: Path) -> dict[str, bytes]:
        return {
            path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
        }

    assert files(back) == files(tmp_path / "run")
    assert verify(back, deep=True).ok
    # Again, and after an interruption: what is missing is brought.
    (back / "trajectory.zarr" / "zarr.json").unlink()
    assert files(pull(url, back)) == files(tmp_path / "run")


def test_damage_there_is_named_and_verified(tmp_path: Path, url: str) -> None:
    sent_run(tmp_path / "run", url).journal.close()
    assert CliRunner().invoke(command, ["verify", url]).exit_code == 0
    bucket, key = Bucket(url), "trajectory.zarr/embeddings/c.1.0.0"
    stored = bucket.get(key)
    assert stored is not None
    bucket.replace(key, stored.data[:-1] + b"x", stored.tag)
    with pytest.raises(DamagedError, match=f"{url}/{key} .block 1, steps 4"):
        open_run(url)["embeddings"][5]
    with pytest.raises(DamagedError, match=f"{url}/{key} is not what was sent"):
        pull(url, tmp_path / "back")
    done = CliRunner().invoke(command, ["verify", url])
    assert done.exit_code == 2
    assert f"{url}/{key} is not what was sent" in done.stderr


def test_places_that_are_none_are_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(NotARunError, match=f"{url} is not a run"):
        open_run(url)
    sent_run(tmp_path / "run", url, rows=2).journal.close()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(RunExistsError, match=r"thesis\.tex"):
        pull(url, tmp_path / "full")


@pytest.mark.parametrize("change", ["compacted", "longer"])
def test_what_has_it_open_reads_on_where_files_are_replaced(tmp_path: Path, url: str, change: str) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=6)
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    expected = open_run(tmp_path / "run")["embeddings"][:6]
    opened = open_run(url)
    if change == "longer":
        for row in (6, 7):
            run.sealer.snapshot(run.journal, row)
        run.sealer.seal(run.journal, 8)
    run.journal.close()
    if change == "compacted":
        compact(tmp_path / "run")
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    # Nothing of the block was fetched before.
    np.testing.assert_array_equal(opened["embeddings"][4:6], expected[4:6])
    np.testing.assert_array_equal(opened["embeddings"][:6], expected)


def test_what_is_said_of_tokens_since_is_read(tmp_path: Path, url: str) -> None:
    written.write_run(tmp_path / "run", rows=6, sealed=6).journal.close()
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    opened = open_run(url)
    recover(tmp_path / "run")
    embevo.annotate(tmp_path / "run", groups={"mine": [1, 3]})
    compact(tmp_path / "run")
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    np.testing.assert_array_equal(opened["embeddings"][:], open_run(tmp_path / "run")["embeddings"][:])
    assert opened.groups["mine"].tolist() == [1, 3]


def test_a_forked_process_reads_what_is_here_and_refuses_the_rest(tmp_path: Path, url: str) -> None:
    sent_run(tmp_path / "run", url).journal.close()
    opened = open_run(url)
    first = opened["embeddings"][:4]

    def child() -> None:
        assert opened["embeddings"][:4].tobytes() == first.tobytes()
        for ask in (lambda: opened["embeddings"][4:], lambda: open_run(url)):
            with pytest.raises(StorageRefusedError, match="spawn"):
                ask()
        # What is done when an interpreter ends, as after os.fork() and sys.exit().
        weakref.finalize._exitfunc()  # type: ignore[attr-defined]

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    np.testing.assert_array_equal(opened["embeddings"][:], open_run(tmp_path / "run")["embeddings"][:])


@pytest.mark.parametrize("left", ["sealed", "journal"])
def test_what_is_here_and_not_there_is_never_brought_over(tmp_path: Path, url: str, left: str) -> None:
    path = tmp_path / "run"
    run = written.write_run(path, rows=8, sealed=4)
    Pusher(RunPaths(path), Bucket(url)).push()
    run.journal.close()
    if left == "sealed":
        recover(path)
    before = open_run(path)["embeddings"][:]
    assert len(before) == 8
    with pytest.raises(RunExistsError, match="embevo push"):
        pull(url, path)
    np.testing.assert_array_equal(open_run(path)["embeddings"][:], before)
