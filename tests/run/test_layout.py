"""The Zarr group: what plain zarr and xarray make of it, and that its bytes are a function of the values."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from embevo.errors import ArgumentError
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for
from support import encoded, written

SHAPE = (6, 5)
STEPS = 4


def layout_of(
    dtype: str = "float32", zarr_dtype: ZarrDtype = "float32", store: Store = "both", **keywords: Any
) -> Layout:
    frame = written.frame_of(SHAPE, embeddings=dtype, second="float64")
    keywords = {
        "has_token_count": True,
        "attributes": {"config": {"lr": 0.001}},
        "block_steps": STEPS,
    } | keywords
    return Layout.new(frame, store=store, zarr_dtype=zarr_dtype, **keywords)


def block_of(layout: Layout, block: int, rows: int) -> dict[str, bytes]:
    steps = np.arange(block * layout.block_steps, block * layout.block_steps + rows)
    scalars = np.stack([[encoded.loss_of(int(step)), 0.5] for step in steps])
    matrices = {name: encoded.matrices(steps, SHAPE, dtype) for name, dtype in layout.frame.matrices}
    return layout.block(block, steps, scalars, matrices)


def write(path: Path, files: dict[str, bytes]) -> None:
    for key, data in files.items():
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "trajectory.zarr"


@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
@pytest.mark.parametrize("dtype", list(encoded.DTYPES))
def test_plain_zarr_and_xarray_decode_the_blocks(store: Path, dtype: str, zarr_dtype: ZarrDtype) -> None:
    layout = layout_of(dtype, zarr_dtype)
    counts = np.arange(SHAPE[0], dtype=np.int64)
    write(store, layout.constants(counts))
    for block, rows in ((0, STEPS), (1, STEPS), (2, 3)):
        write(store, block_of(layout, block, rows))
    length = 2 * STEPS + 3
    write(store, layout.metadata(length))
    expected = encoded.matrices(encoded.steps_of(length), SHAPE, dtype)
    if zarr_dtype == "float32":
        expected = encoded.widened(expected)
    group = zarr.open_group(store, mode="r")
    single = zarr.open_array(store / "embeddings", mode="r")
    with xarray.open_zarr(store, chunks=None, mask_and_scale=False) as dataset:
        for values in (group["embeddings"][:], single[:], dataset["embeddings"].values):
            assert encoded.same_bits(np.asarray(values), expected)
        assert dataset["embeddings"].dims == ("step", "token", "dim")
        assert set(dataset.coords) == {"step", "token"}
        assert dataset["step"].values.tolist() == list(range(length))
    second = encoded.matrices(encoded.steps_of(length), SHAPE, "float64")
    assert encoded.same_bits(np.asarray(group["second"][:]), second)
    assert group["step"][:].tolist() == list(range(length))
    assert group["loss"][:].tolist() == [encoded.loss_of(step) for step in range(length)]
    assert group["token"][:].tolist() == list(range(SHAPE[0]))
    assert group["token_count"][:].tolist() == counts.tolist()
    assert group.attrs["config"] == {"lr": 0.001}


def test_all_arrays_grow_at_once_and_only_along_step(store: Path) -> None:
    layout = layout_of()
    for rows in (0, 1, 4, 9, 10**9):
        files = layout.metadata(rows)
        assert list(files)[-1] == "zarr.json", "the group's own metadata comes last"
        arrays = json.loads(files["zarr.json"])["consolidated_metadata"]["metadata"]
        assert arrays.keys() == {key.partition("/")[0] for key in files if key != "zarr.json"}
        for name, metadata in arrays.items():
            assert json.loads(files[f"{name}/zarr.json"]) == metadata
            along_step = metadata["dimension_names"][0] == "step"
            assert metadata["shape"][0] == (rows if along_step else SHAPE[0])
    assert layout.metadata(4) == layout.metadata(4)


@pytest.mark.parametrize("dtype", list(encoded.DTYPES))
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
def test_what_is_missing_is_never_a_number(store: Path, dtype: str, zarr_dtype: ZarrDtype) -> None:
    layout = layout_of(dtype, zarr_dtype)
    write(store, layout.metadata(STEPS))
    group = zarr.open_group(store, mode="r")
    for name in ("embeddings", "second", "loss", "learning_rate"):
        assert np.isnan(np.asarray(group[name][:]).astype(np.float64)).all()
    for name in ("step", "token", "token_count"):
        assert (np.asarray(group[name][:]) == -1).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_blocks_of_zeros_and_of_fill_values_are_written_all_the_same(value: float) -> None:
    layout = layout_of()
    matrices = {
        name: np.full((STEPS, *SHAPE), value, encoded.DTYPES[dtype]) for name, dtype in layout.frame.matrices
    }
    files = layout.block(0, np.full(STEPS, -1), np.full((STEPS, 2), np.nan), matrices)
    assert set(files) == {
        "embeddings/c.0.0.0", "second/c.0.0.0", "step/c.0", "loss/c.0", "learning_rate/c.0"
    }  # fmt: skip


def test_the_same_values_make_the_same_bytes() -> None:
    first, second = (block_of(layout_of("bfloat16"), 3, 3) for _ in range(2))
    assert first == second
    assert layout_of().constants(None) == layout_of().constants(None)
    assert "token_count/c.0" not in layout_of().constants(None)


def test_a_block_is_one_file_an_array(store: Path) -> None:
    assert set(block_of(layout_of(), 7, STEPS)) == {
        "embeddings/c.7.0.0", "second/c.7.0.0", "step/c.7", "loss/c.7", "learning_rate/c.7"
    }  # fmt: skip


def test_the_layout_is_read_back_from_the_group() -> None:
    layout = layout_of("bfloat16", "native")
    group = json.loads(layout.metadata(8)["zarr.json"])
    again = Layout.from_group(group)
    assert again.metadata(8) == layout.metadata(8)
    assert (again.frame, again.block_steps, again.store) == (layout.frame, STEPS, "both")


def test_a_run_of_safetensors_has_no_matrices_in_its_group() -> None:
    layout = layout_of(store="safetensors")
    assert layout.matrices == ()
    assert set(block_of(layout, 0, STEPS)) == {"step/c.0", "loss/c.0", "learning_rate/c.0"}


def test_a_flipped_bit_in_a_chunk_is_an_error_of_plain_zarr(store: Path) -> None:
    """Every bit of the file that holds numbers or says where they are; the rest cannot hold any."""
    layout = layout_of()
    files = block_of(layout, 0, STEPS)
    write(store, layout.metadata(STEPS))
    for key in ("embeddings/c.0.0.0", "loss/c.0", "step/c.0"):
        name = key.partition("/")[0]
        data = files[key]
        write(store, {key: data})
        array = zarr.open_array(store / name, mode="r")
        expected = np.asarray(array[:])
        for byte in range(len(data)):
            flipped = bytearray(data)
            flipped[byte] ^= 1 << byte % 8
            write(store, {key: bytes(flipped)})
            try:
                values = np.asarray(array[:])
            except Exception:  # noqa: BLE001 - any error will do, a wrong number will not
                continue
            assert values.tobytes() == expected.tobytes(), f"byte {byte} of {key}"


@pytest.mark.parametrize(
    ("dtype", "zarr_dtype", "shape", "steps"),
    [
        ("float32", "float32", (128, 64), 1000),
        ("float32", "float32", (1, 1), 1000),
        ("float32", "float32", (256, 128), 200),
        ("bfloat16", "float32", (256, 128), 200),
        ("bfloat16", "native", (256, 128), 500),
        ("bfloat16", "float32", (32_000, 1024), 5),
        ("float32", "float32", (50_000, 768), 5),
        ("bfloat16", "float32", (151_936, 2560), 1),
    ],
)
def test_a_block_holds_about_32_mib_or_a_few_large_steps(
    dtype: str, zarr_dtype: ZarrDtype, shape: tuple[int, int], steps: int
) -> None:
    frame = FrameSpec.of({"embeddings": (dtype, shape)})
    assert block_steps_for(frame, zarr_dtype) == steps


def test_large_matrices_lie_in_shards_that_are_encoded_one_by_one(tmp_path: Path) -> None:
    shape, steps = (700, 4096), 10
    frame = FrameSpec.of({"embeddings": ("bfloat16", shape)})
    layout = Layout.new(
        frame, block_steps=steps, store="zarr", zarr_dtype="float32", has_token_count=False, attributes={}
    )
    _, shard, _ = layout.arrays["embeddings"]["chunk_grid"]["configuration"]["chunk_shape"]
    codecs = [codec["name"] for codec in layout.arrays["embeddings"]["codecs"]]
    assert codecs == ["sharding_indexed"]
    values = encoded.matrices(range(steps), shape, "bfloat16", 0)
    files = layout.block(0, np.arange(steps), np.zeros((steps, len(frame.scalars))), {"embeddings": values})
    names = [name for name in files if name.startswith("embeddings/")]
    assert names == [f"embeddings/c.0.{place}.0" for place in range(-(-shape[0] // shard))]
    assert len(names) > 1
    write(tmp_path, {**layout.metadata(steps), **files})
    found = zarr.open_group(tmp_path, mode="r")["embeddings"][:]
    assert encoded.same_bits(np.asarray(found), encoded.widened(values))


def test_nothing_but_the_lengths_along_step_changes_from_block_to_block() -> None:
    frame = FrameSpec.of({"embeddings": ("float32", (5, 3))}, ("loss",))
    # The length that stands for all others until it is known may be among the settings, too.
    attributes = {"config": {"shape": [1 << 62, 3], "name": f"{(1 << 62) + 1}"}}
    layout = Layout.new(
        frame,
        block_steps=4,
        store="zarr",
        zarr_dtype="native",
        has_token_count=False,
        attributes=attributes,
    )
    for rows in (0, 7, 123456):
        files = {key: json.loads(data) for key, data in layout.metadata(rows).items()}
        group = files["zarr.json"]
        assert group["attributes"]["config"] == attributes["config"]
        arrays = group["consolidated_metadata"]["metadata"]
        shapes = {name: array["shape"] for name, array in arrays.items()}
        assert shapes == {"embeddings": [rows, 5, 3], "step": [rows], "loss": [rows], "token": [5]}
        assert all(files[f"{name}/zarr.json"] == array for name, array in arrays.items())


@pytest.mark.parametrize(
    ("shape", "block_steps", "advice"),
    [((10, 1 << 20), 600, "pass a smaller block_steps"), ((2, 1 << 30), 1, "with more rows along its first")],
)
def test_a_chunk_that_no_frame_of_blosc_could_hold_is_refused(
    shape: tuple[int, int], block_steps: int, advice: str
) -> None:
    def layout(shape: tuple[int, int], block_steps: int) -> Layout:
        return Layout.new(
            FrameSpec.of({"w": ("bfloat16", shape)}),
            block_steps=block_steps,
            store="zarr",
            zarr_dtype="float32",
            has_token_count=False,
            attributes={},
        )

    with pytest.raises(ArgumentError, match=f"one row of w is .* {advice}"):
        layout(shape, block_steps)
    # What is advised helps.
    assert layout(shape, 500) if block_steps > 1 else layout((8, 1 << 28), 1)
