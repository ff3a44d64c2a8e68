"""A run as an xarray dataset: bit for bit the run, and saved again by whoever likes."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from embevo import open_run
from embevo.run.format.dtypes import HALVES
from embevo.run.format.frame import FrameSpec
from embevo.run.format.token_names import Annotations
from embevo.run.format.widening import widen
from embevo.run.writing.annotating import annotate_run
from support import encoded, frames, written

STORES = ["zarr", "safetensors", "both"]
CONFIG: Any = {"lr": 0.1, "nested": {"a": [1, None, True]}, "huge": 2**70}


def run_of(path: Path, dtype: str = "float32", *, sealed: int = 6, **options: Any) -> Path:
    """A run of seven rows, of which some are in the journal only."""
    frame = written.frame_of(embeddings=dtype)
    count = np.arange(5, dtype=np.int64)
    return written.write_run(
        path, rows=7, sealed=sealed, frame=frame, every=10, token_count=count, config=CONFIG, **options
    ).path


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("dtype", ["float64", "float32", *HALVES])
def test_it_is_the_run(tmp_path: Path, dtype: str, store: Any, zarr_dtype: Any, native: bool) -> None:
    path = run_of(tmp_path / "run", dtype, store=store, zarr_dtype=zarr_dtype)
    run = open_run(path)
    data = run.to_xarray(native=native)
    values = data["embeddings"].values
    expected = np.stack([encoded.matrix(step, (5, 3), dtype, 0) for step in run.steps.tolist()])
    if dtype in HALVES and values.dtype == np.float32:
        expected = widen(expected)
    assert values.dtype == expected.dtype
    assert values.tobytes() == expected.tobytes()
    assert data["embeddings"].dims == ("step", "token", "dim")
    assert data["embeddings"].attrs == {"recorded_dtype": dtype}
    assert set(data.coords) == {"step", "token", "token_count"}
    assert data["step"].values.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert data["token"].values.tolist() == data["token_count"].values.tolist() == [0, 1, 2, 3, 4]
    assert data["loss"].values.tobytes() == np.asarray(run["loss"][:]).tobytes()
    assert data["embeddings"].sel(step=[60, 20], token=4).values.tobytes() == values[[6, 2], 4].tobytes()
    assert data["embeddings"][::-2, 1:3].values.tobytes() == values[::-2, 1:3].tobytes()


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(run_of(tmp_path / "run"))
    read: list[Any] = []
    inner = run._read
    monkeypatch.setattr(run, "_read", lambda name, *rest: read.append(name) or inner(name, *rest))
    chosen = run.to_xarray()["embeddings"].isel(token=2)
    assert read == []
    assert chosen.values.shape == (7, 3)
    assert set(read) == {"embeddings"}


@pytest.mark.parametrize("sealed", [0, 4, 7])
@pytest.mark.parametrize(
    "choose", [{}, {"token": 2}, {"step": slice(1, 5)}, {"step": -1, "dim": [2, 0]}], ids=str
)
@pytest.mark.parametrize("source", ["to_xarray", "open_zarr"])
def test_it_and_parts_of_it_are_saved_again(tmp_path: Path, sealed: int, choose: Any, source: str) -> None:
    path = run_of(tmp_path / "run", "bfloat16", sealed=sealed)
    if source == "to_xarray":
        data = open_run(path).to_xarray().isel(choose)
    else:
        if sealed == 0:
            pytest.skip("the group has no rows yet")
        data = xr.open_zarr(path / "trajectory.zarr", chunks=None).isel(choose).drop_encoding()
    data.to_zarr(tmp_path / "again.zarr", zarr_format=3, consolidated=False)
    again = xr.open_zarr(tmp_path / "again.zarr", chunks=None, consolidated=False)
    xr.testing.assert_identical(again.load(), data.load())


def test_attributes_are_flat(tmp_path: Path) -> None:
    run = open_run(run_of(tmp_path / "run"))
    attributes = run.to_xarray().attrs
    for name, value in run.attributes.items():
        given = attributes[name]
        assert isinstance(given, str | int | float)
        assert not isinstance(given, bool)
        assert (given if isinstance(value, str | int | float) else json.loads(given)) == value
    assert json.loads(attributes["config"]) == CONFIG


@pytest.mark.skipif(find_spec("h5netcdf") is None, reason="h5netcdf is not installed")
@pytest.mark.parametrize("dtype", ["float64", "float32", *HALVES])
def test_it_is_saved_as_netcdf(tmp_path: Path, dtype: str) -> None:
    data = open_run(run_of(tmp_path / "run", dtype, zarr_dtype="native")).to_xarray()
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    again = xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf")
    xr.testing.assert_identical(again.load(), data.load())


@pytest.mark.skipif(find_spec("dask") is None, reason="dask is not installed")
def test_dask_reads_it_in_blocks(tmp_path: Path) -> None:
    run = open_run(run_of(tmp_path / "run", sealed=4))
    data = run.to_xarray()
    assert data["embeddings"].chunks[0] == (4, 3)
    assert data["embeddings"].values.tobytes() == np.asarray(run["embeddings"][:]).tobytes()
    data.to_zarr(tmp_path / "again.zarr", zarr_format=3, consolidated=False)


def test_a_run_that_goes_on_does_not_change_in_use(tmp_path: Path) -> None:
    recording = written.write_run(tmp_path / "run", rows=5, sealed=4)
    run = open_run(recording.path)
    data = run.to_xarray()
    before = data["embeddings"].values.copy()
    for row in range(5, 8):
        written.put(recording.journal, row, row)
        recording.sealer.snapshot(recording.journal, row)
    recording.sealer.snapshot(recording.journal, 4)
    recording.sealer.seal(recording.journal, 8)
    again = run.to_xarray()["embeddings"].values
    assert again.tobytes() == before.tobytes()
    run.refresh()
    assert run.to_xarray().sizes["step"] == 8


def test_without_xarray_the_error_names_the_extra(tmp_path: Path) -> None:
    path = run_of(tmp_path / "run")
    program = """
import sys
sys.modules["xarray"] = None
from embevo import open_run
from embevo.errors import MissingLibraryError
try:
    open_run(sys.argv[1]).to_xarray()
except MissingLibraryError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "A run as a dataset needs xarray: pip install 'embevo[analysis]'.\n"


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_tokens_come_with_their_texts_where_the_run_has_them(tmp_path: Path, suffix: str) -> None:
    frame = FrameSpec.of({"embeddings": ("float32", (5, 3))}, ("loss",))
    path = frames.write_run(tmp_path / "run", frame, 3)
    assert "token_string" not in open_run(path).to_xarray().coords
    texts = (" the", "\u00e9", b"\xe2\x80", None, "a\0b")
    annotate_run(path, lambda _, __: Annotations(texts))
    run = open_run(path)
    data = run.to_xarray()
    assert data["token_string"].dims == ("token",)
    wanted = [" the", "\u00e9", *run.token_names.labels[2:]]
    assert data["token_string"].values.tolist() == wanted
    chosen = data.sel(token=[3, 1])
    assert chosen["token_string"].values.tolist() == [wanted[3], wanted[1]]
    assert chosen["embeddings"].values.tobytes() == run["embeddings"][:][:, [3, 1]].tobytes()
    saved = tmp_path / f"saved.{suffix}"
    if suffix == "zarr":
        chosen.to_zarr(saved, zarr_format=3, consolidated=False)
        back = xr.open_zarr(saved, consolidated=False)
    else:
        chosen.to_netcdf(saved, engine="h5netcdf")
        back = xr.open_dataset(saved, engine="h5netcdf")
    with back:
        assert back["token_string"].values.tolist() == [wanted[3], wanted[1]]


def test_bytes_come_with_their_characters(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=2, sealed=2, vocabulary="bytes")
    texts = open_run(run.path).to_xarray()["token_string"].values.tolist()
    assert texts[1:] == [chr(token) for token in range(1, 5)]
    assert texts[0] == open_run(run.path).token_names.labels[0]
