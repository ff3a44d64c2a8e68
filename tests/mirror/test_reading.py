"""A run at a URL is read where it is, brought back whole, and verified."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo as command

import embevo
from embevo.errors import DamagedError, NotARunError, RunExistsError
from embevo.run.cloud.bucket import Bucket
from embevo.run.format.layout import Store
from embevo.run.mirroring.pulling import pull
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
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
