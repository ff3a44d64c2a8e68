"""Runs of arrays of any shape, dtype and axes: every bit comes back, live, sealed, damaged and rebuilt."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import tensorstore
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embevo.errors import FrameMismatchError
from embevo.run.exchange.exporting import export_snapshots, export_stacked
from embevo.run.exchange.importing import import_snapshots, inspect_folder
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, identity
from embevo.run.format.token_subset import TokenSubset
from embevo.run.format.widening import widen
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from embevo.run.writing.local_sink import create_run
from embevo.run.writing.sealing import Sealer
from support import frames

STORES = st.sampled_from(["both", "zarr", "safetensors"])
ZARR_DTYPES = st.sampled_from(["float32", "native"])


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


def write(
    path: Path, frame: FrameSpec, rows: int, sealed: int, block: int, store: Store, kind: ZarrDtype
) -> None:
    """A run of steps 0, 2, 4, ..., of which the first are sealed."""
    path.mkdir(parents=True)
    paths = RunPaths(path)
    layout = Layout.new(
        frame, block_steps=block, store=store, zarr_dtype=kind, has_token_count=False, attributes={}
    )
    journal = Journal.create(paths.journal, frame, 2 * block, run=identity(layout))
    sealer = Sealer(paths, layout, create_run(paths, layout, None, sync=False), rows=0, sync=False)
    for row in range(rows):
        frames.put(journal, row, 2 * row)
        if row < sealed:
            sealer.snapshot(journal, row)
            if row + 1 == sealed or (row + 1) % block == 0:
                sealer.seal(journal, row + 1)
    journal.close()


def expected(frame: FrameSpec, name: str, rows: int) -> NDArray[Any]:
    """``(row, ...)`` in the recorded dtype."""
    return np.stack([frames.values(frame.by_name[name], name, 2 * row) for row in range(rows)])


def saved(data: bytes) -> dict[str, bytes]:
    """What safetensors itself finds in a file."""
    return {name: bytes(tensor["data"]) for name, tensor in safetensors.deserialize(data)}


def same(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Equal in shape and in every bit, of a 16-bit float as it is or widened."""
    wide = found if found.dtype == wanted.dtype else None
    target = wanted if wide is not None else widen(wanted)
    return found.shape == target.shape and found.dtype == target.dtype and found.tobytes() == target.tobytes()


CASES = st.tuples(frames.frames(), st.integers(1, 9), st.integers(0, 9), st.sampled_from([3, 4, 100]))


@settings(max_examples=40)
@given(CASES, STORES, ZARR_DTYPES)
def test_every_reader_gets_every_bit(
    case: tuple[FrameSpec, int, int, int], store: Store, kind: ZarrDtype
) -> None:
    frame, rows, sealed, block = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        # The ring holds the block that is not full yet, and all that comes after it.
        sealed = max(min(rows, sealed), -(-(rows - 2 * block) // block) * block)
        write(path, frame, rows, sealed, block, store, kind)
        run = open_run(path)
        assert run.frame == frame
        for name in frame.by_name:
            assert same(run[name][:], expected(frame, name, rows))
            assert same(run[name][rows - 1], expected(frame, name, rows)[rows - 1])
            assert same(run[name][:, -1:], expected(frame, name, rows)[:, -1:])
        for row, (step, image) in enumerate(run.images(range(rows))):
            assert step == 2 * row
            assert saved(image.tobytes()) == {
                name: expected(frame, name, rows)[row].tobytes() for name in frame.by_name
            }
        done = recover(path)
        assert not done.lost
        assert verify(path, deep=True).ok
        group = zarr.open_group(path / "trajectory.zarr", mode="r")
        dataset = xarray.open_zarr(path / "trajectory.zarr", chunks=None, mask_and_scale=False)
        for name, spec in frame.arrays:
            if store == "safetensors":
                assert name not in group
                continue
            wanted = expected(frame, name, rows)
            assert same(np.asarray(group[name][:]), wanted)
            assert same(dataset[name].values, wanted)
            assert dataset[name].dims == ("step", *spec.dimensions)
            if spec.dtype != "bfloat16" or kind == "float32":
                opened = tensorstore.open(
                    {
                        "driver": "zarr3",
                        "kvstore": {"driver": "file", "path": str(path / "trajectory.zarr" / name)},
                    }
                ).result()
                assert same(np.asarray(opened.read().result()), wanted)
        if frame.token_count:
            assert np.asarray(group["token"][:]).tolist() == frame.token_ids.tolist()


@settings(max_examples=25)
@given(CASES, ZARR_DTYPES, st.data())
def test_damaged_files_are_found_and_rebuilt(
    case: tuple[FrameSpec, int, int, int], kind: ZarrDtype, data: st.DataObject
) -> None:
    frame, rows, _, block = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        write(path, frame, rows, rows, block, "both", kind)
        recover(path)
        name = data.draw(st.sampled_from(sorted(frame.by_name)))
        victims = sorted(path.glob(f"trajectory.zarr/{name}/c.*")) + sorted(path.glob("snapshots/*"))
        victim = data.draw(st.sampled_from(victims))
        content = bytearray(victim.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        victim.write_bytes(content)
        assert not verify(path, deep=True).ok
        done = recover(path)
        assert done.rebuilt == [victim.relative_to(path).as_posix()]
        assert verify(path, deep=True).ok
        for other in frame.by_name:
            assert same(open_run(path)[other][:], expected(frame, other, rows))


@settings(max_examples=25)
@given(CASES, st.data())
def test_exports_come_in_again(case: tuple[FrameSpec, int, int, int], data: st.DataObject) -> None:
    frame, rows, _, block = case
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "run", Path(folder) / "out"
        write(path, frame, rows, rows, block, "zarr", "native")
        run = open_run(path)
        tokens = None
        if frame.token_count and data.draw(st.booleans()):
            tokens = sorted(data.draw(st.sets(st.sampled_from(frame.token_ids.tolist()), min_size=1)))
        files = export_snapshots(run, out, range(rows), tokens=tokens)
        stacked = saved(export_stacked(run, out / "one", range(rows), tokens=tokens).read_bytes())
        chosen = slice(None) if tokens is None else np.searchsorted(frame.token_ids, tokens)
        for name, spec in frame.arrays:
            wanted = expected(frame, name, rows)
            if spec.dimensions[0] == "token":
                wanted = wanted[:, chosen]
            assert stacked[name] == wanted.tobytes()
            assert saved(files[-1].read_bytes())[name] == wanted[-1].tobytes()
        (out / "one").rename(Path(folder) / "elsewhere")
        import_snapshots(inspect_folder(out, {name: name for name in frame.by_name}), Path(folder) / "again")
        for name, spec in frame.arrays:
            wanted = expected(frame, name, rows)
            if spec.dimensions[0] == "token":
                wanted = wanted[:, chosen]
            assert same(open_run(Path(folder) / "again")[name][:], wanted)


@given(frames.frames())
def test_a_frame_is_what_its_json_says(frame: FrameSpec) -> None:
    assert FrameSpec.from_json(frame.to_json()) == frame


def test_axes_of_one_name_have_one_length() -> None:
    arrays = {"w": ("float32", (4, 3)), "v": ("float32", (5, 3))}
    assert FrameSpec.of(arrays).by_name["v"].dimensions == ("v_0", "v_1")
    with pytest.raises(FrameMismatchError, match="axis token has length 4 in w and 5 in v"):
        FrameSpec.of(arrays, dimensions={"v": ("token", "other")})
    with pytest.raises(FrameMismatchError, match="axis token has length 4 in w and 2 in the token ids given"):
        FrameSpec.of({"w": ("float32", (4, 3))}, tokens=TokenSubset.of([3, 7], 9))
    with pytest.raises(FrameMismatchError, match="token only for the first"):
        FrameSpec.of(arrays, dimensions={"v": ("other", "token")})
    with pytest.raises(FrameMismatchError, match="dimensions are given for u"):
        FrameSpec.of(arrays, dimensions={"u": ("token", "dim")})
    for ids in ([], [3, 3], [4, 2], [-1], [9]):
        with pytest.raises(FrameMismatchError, match="ascending, each once"):
            TokenSubset.of(ids, 9)
