"""Many runs as one tree, and arrays of dask in the chunks that are on the disk."""

from pathlib import Path

import numpy as np
import pytest

import embevo
from embevo.errors import ArgumentError, NotARunError
from support import trajectories

VALUES = trajectories.brownian(40, 6, 4).astype(np.float32)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, name in enumerate(["a/one", "a/two", "b/one"]):
        trajectories.record(tmp_path / "runs" / name, VALUES + seed, block_steps=16)
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def test_runs_are_the_nodes_of_a_tree(runs: Path) -> None:
    tree = embevo.open_runs(runs / "**")
    assert sorted(node.path for node in tree.leaves) == ["/a/one", "/a/two", "/b/one"]
    for seed, name in enumerate(["a/one", "a/two", "b/one"]):
        np.testing.assert_array_equal(tree[name]["embeddings"].values, VALUES + seed)
        assert tree[name].ds.attrs["corpus"]
    named = embevo.open_runs([runs / "a/one", runs / "a/two"])
    assert list(named.children) == ["one", "two"]
    # One call on all runs, which is what a tree is for.
    means = named.map_over_datasets(lambda data: data.mean("token") if data.sizes else data)
    np.testing.assert_allclose(means["two"]["embeddings"], (VALUES + 1).mean(axis=1), rtol=1e-6)


def test_what_is_no_run_is_passed_over_in_a_pattern_and_refused_by_name(runs: Path) -> None:
    with pytest.raises(NotARunError, match="notes"):
        embevo.open_runs([runs / "a/one", runs / "notes"])
    with pytest.raises(ArgumentError, match=r"no run matches '.*notes'"):
        embevo.open_runs(runs / "notes")
    with pytest.raises(ArgumentError, match="named twice"):
        embevo.open_runs([runs / "a/one", runs / "a/../a/one"])


def test_chunks_are_those_of_the_storage(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 600, 64)).astype(np.float32)
    run = embevo.open_run(trajectories.record(tmp_path / "run", values, block_steps=16))
    array = run.layout.arrays["embeddings"]
    shape = array["chunk_grid"]["configuration"]["chunk_shape"]
    if array["codecs"][0]["name"] == "sharding_indexed":
        shape = array["codecs"][0]["configuration"]["chunk_shape"]
    data = run.to_xarray(chunks={})
    assert tuple(sizes[0] for sizes in data["embeddings"].chunks) == tuple(shape)
    assert shape[1] < 600
    assert data["loss"].chunks == ((16, 16, 8),)
    np.testing.assert_array_equal(data["embeddings"][20:, 100:300].values, values[20:, 100:300])
    assert run.to_xarray(chunks={"token": 200})["embeddings"].chunks[1] == (200, 200, 200)
    assert run.to_xarray()["embeddings"].chunks[1] == (600,)
