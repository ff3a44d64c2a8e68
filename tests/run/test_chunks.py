"""The bytes of chunk files: those that zarr writes."""

import numpy as np
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from embevo.run.format import zarr_arrays
from embevo.run.format.chunks import ChunkEncoder
from embevo.run.format.effort import EFFORTS, Effort, effort_of
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, ZarrDtype
from embevo.run.format.room import Room
from support import encoded
from support.layouts import layout_of


def written_by_zarr(layout: Layout, rows: int, values: np.ndarray) -> dict[str, bytes]:
    """What zarr makes of the values ``(step, token, dim)`` of a block 0, by name."""
    held: dict[str, Buffer] = {}
    key = "embeddings/zarr.json"
    held[key] = default_buffer_prototype().buffer.from_bytes(layout.metadata(rows)[key])
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.open_array(MemoryStore(held), path="embeddings", mode="r+")
    array[:] = values
    return {name: buffer.to_bytes() for name, buffer in held.items() if name != key}


def block_of(
    layout: Layout, values: np.ndarray, effort: Effort = "small", room: Room | None = None
) -> dict[str, bytes]:
    rows = len(values)
    scalars = np.zeros((rows, len(layout.frame.scalars)))
    files = layout.block(0, np.arange(rows), scalars, {"embeddings": values}, effort=effort, room=room)
    return {name: bytes(data) for name, data in files.items() if name.startswith("embeddings/")}


def read_by_zarr(layout: Layout, rows: int, files: dict[str, bytes]) -> np.ndarray:
    """The values ``(step, token, dim)`` of a block 0."""
    buffer = default_buffer_prototype().buffer
    key = "embeddings/zarr.json"
    held: dict[str, Buffer] = {key: buffer.from_bytes(layout.metadata(rows)[key])}
    held |= {name: buffer.from_bytes(data) for name, data in files.items()}
    return np.asarray(zarr.open_array(MemoryStore(held), path="embeddings", mode="r")[:])


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 6)),
    block_steps=st.sampled_from([1, 3, 99, 100, 130]),
    missing=st.integers(0, 3),
    dtype=st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
    zarr_dtype=st.sampled_from(["float32", "native"]),
    chunk_bytes=st.sampled_from([1, 2000, 1 << 22]),
)
def test_the_files_are_those_of_zarr(
    shape: tuple[int, int],
    block_steps: int,
    missing: int,
    dtype: str,
    zarr_dtype: ZarrDtype,
    chunk_bytes: int,
) -> None:
    """Bit for bit: short blocks, chunks that the tokens do not fill, shards of one and of many chunks."""
    rows = max(1, block_steps - missing)
    values = encoded.matrices(range(rows), shape, dtype)
    frame = FrameSpec.of({"embeddings": (dtype, shape)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_arrays, "_CHUNK_BYTES", chunk_bytes)
        layout = layout_of(frame, block_steps, zarr_dtype=zarr_dtype)
    stored = encoded.widened(values) if zarr_dtype == "float32" else values
    assert block_of(layout, values) == written_by_zarr(layout, rows, stored)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 6)),
    block_steps=st.sampled_from([1, 3, 99, 100, 130]),
    missing=st.integers(0, 3),
    dtype=st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
    zarr_dtype=st.sampled_from(["float32", "native"]),
    chunk_bytes=st.sampled_from([1, 2000, 1 << 22]),
    effort=st.sampled_from(["none", "fast"]),
    calm=st.booleans(),
)
# Two chunks of four tokens each, of which the last one has three.
@example(
    shape=(7, 1),
    block_steps=99,
    missing=0,
    dtype="float32",
    zarr_dtype="float32",
    chunk_bytes=2000,
    effort="none",
    calm=False,
)
def test_what_is_made_with_less_effort_reads_the_same(
    shape: tuple[int, int],
    block_steps: int,
    missing: int,
    dtype: str,
    zarr_dtype: ZarrDtype,
    chunk_bytes: int,
    effort: Effort,
    calm: bool,
) -> None:
    """Bit for bit, by zarr, whose metadata says another codec; of numbers that compress, and of noise."""
    rows = max(1, block_steps - missing)
    values = encoded.matrices(range(rows), shape, dtype)
    if calm:
        values[:] = values[:1]
    frame = FrameSpec.of({"embeddings": (dtype, shape)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_arrays, "_CHUNK_BYTES", chunk_bytes)
        layout = layout_of(frame, block_steps, zarr_dtype=zarr_dtype)
    files = block_of(layout, values, effort)
    stored = encoded.widened(values) if zarr_dtype == "float32" else values
    assert encoded.same_bits(read_by_zarr(layout, rows, files), stored)
    # Also where another block has lain before.
    room = Room()
    for held in (values[:, ::-1], values):
        room.clear()
        again = block_of(layout, held, effort, room)
    assert again == files
    # What a plan says before.
    encoder = ChunkEncoder.of(layout.arrays["embeddings"])
    more = encoder.stored_bytes(shape, values.dtype) - sum(map(len, files.values()))
    assert effort != "none" or 0 <= more <= 32 * -(-shape[0] // encoder.tokens)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sharded", [False, True])
def test_the_first_bytes_of_a_file_say_with_which_effort_it_was_made(
    effort: Effort, zarr_dtype: ZarrDtype, dtype: str, sharded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a chunk of its own, and of the first in a shard."""
    if sharded:
        monkeypatch.setattr(zarr_arrays, "_CHUNK_BYTES", 6400)
    frame = FrameSpec.of({"embeddings": (dtype, (80, 8))})
    layout = Layout.new(
        frame,
        block_steps=100,
        store="zarr",
        zarr_dtype=zarr_dtype,
        has_token_count=False,
        attributes={},
    )
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 1e-3, (90, 80, 8)).cumsum(0).astype(encoded.DTYPES[dtype])
    halves = dtype == "bfloat16" and zarr_dtype == "float32"
    files = block_of(layout, steps, effort)
    metadata = layout.arrays["embeddings"]
    assert sharded == (metadata["codecs"][0]["name"] == "sharding_indexed")
    assert {effort_of(data[:16], metadata, halves=halves) for data in files.values()} == {effort}


@given(
    steps=st.lists(st.integers(0, 2**62), min_size=1, max_size=9),
    block_steps=st.integers(9, 300),
    scalar=st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 2.5]),
    tokens=st.integers(1, 40),
    block=st.integers(0, 3),
)
def test_the_files_of_steps_scalars_and_tokens_are_those_of_zarr(
    steps: list[int], block_steps: int, scalar: float, tokens: int, block: int
) -> None:
    rows = len(steps)
    frame = FrameSpec.of({"embeddings": ("float32", (tokens, 2))}, ("loss",))
    layout = Layout.new(
        frame,
        block_steps=block_steps,
        store="safetensors",
        zarr_dtype="float32",
        has_token_count=True,
        attributes={},
    )
    count = np.arange(tokens)[::-1]
    files = layout.constants(count)
    files |= layout.block(block, np.array(steps), np.full((rows, 1), scalar), {})
    start = block * block_steps
    held: dict[str, Buffer] = {}
    for key, data in layout.metadata(start + rows).items():
        held[key] = default_buffer_prototype().buffer.from_bytes(data)
    metadata = set(held)
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(MemoryStore(held), mode="r+")
        group["step"][start:] = np.array(steps)
        group["loss"][start:] = np.full(rows, scalar)
        group["token"][:] = np.arange(tokens)
        group["token_count"][:] = count
    assert files == {key: buffer.to_bytes() for key, buffer in held.items() if key not in metadata}


def test_the_shards_of_earlier_runs_are_continued() -> None:
    """Runs made before chunks were files have one shard a block, other levels and other orders."""
    metadata = {
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 6, 3]}},
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [4, 2, 3],
                    "codecs": [
                        {"name": "transpose", "configuration": {"order": [1, 2, 0]}},
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {
                            "name": "blosc",
                            "configuration": {
                                "typesize": 4,
                                "cname": "zstd",
                                "clevel": 5,
                                "shuffle": "shuffle",
                                "blocksize": 0,
                            },
                        },
                        {"name": "crc32c"},
                    ],
                },
            }
        ],
    }
    encoder = ChunkEncoder.of(metadata)
    assert (encoder.tokens, encoder.file_tokens, encoder.order) == (2, 6, (1, 2, 0))
    (shard,) = encoder.files(encoded.matrices(range(4), (5, 3), "float32"))
    index = np.frombuffer(shard[-52:-4], "<u8").reshape(3, 2)
    assert index[0, 0] == 0
    assert index[-1].sum() == len(shard) - 52
