"""Chunks that are decoded on all cores, straight into the result, are those that zarr reads, bit for bit."""

import itertools
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, TransposeCodec, ZstdCodec

from embevo.errors import ArgumentError, DamagedError
from embevo.run.disk.checksum import digest
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format import zarr_arrays
from embevo.run.format.decoding import ChunkDecoder
from embevo.run.format.layout import Store, ZarrDtype
from embevo.run.format.widening import narrow, widen
from embevo.run.manifest.entry import Created
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading import chunk_reader
from embevo.run.reading.chunk_files import ChunkFiles
from embevo.run.reading.chunk_reader import ChunkReader
from embevo.run.reading.reader import Run, open_run
from embevo.run.repair.compacting import compact
from support import encoded, frames, indices, written

STORES: list[Store] = ["both", "zarr", "safetensors"]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads for however little there is to decode."""
    monkeypatch.setattr(chunk_reader, "_BYTES_FOR_THREADS", 0)


class UnchangedManifest(Manifest):
    """The manifest of a run to which nothing is added."""

    def __init__(self) -> None:
        """Without a file."""

    def refresh(self) -> None:
        """Nothing is new."""


def reader_of(root: Path) -> ChunkReader:
    """Of the array ``w`` in ``root/trajectory.zarr``, all of whose files are as they were written."""
    paths = RunPaths(root)
    files = {
        path.relative_to(paths.trajectory).as_posix(): digest(path.read_bytes())
        for path in (paths.trajectory / "w").glob("c*")
    }
    array = zarr.open_group(paths.trajectory, mode="r")["w"]
    assert isinstance(array, zarr.Array)
    decoder = ChunkDecoder.of(array.metadata.to_dict())
    entry = Created(files, {}, {})
    return ChunkReader(
        decoder, ChunkFiles(paths, UnchangedManifest()), lambda place: (entry, f"w/{decoder.key(place)}")
    )


@st.composite
def arrays(draw: st.DrawFn) -> dict[str, Any]:
    """What zarr is asked for: any grid of chunks, in shards or not, any order of axes, either compressor."""
    axes = draw(st.integers(1, 4))
    chunk = [draw(st.integers(1, 3)) for _ in range(axes)]
    sharded = draw(st.booleans())
    files = [size * draw(st.integers(1, 3)) if sharded else size for size in chunk]
    dtype = draw(st.sampled_from(["<f4", "<f8", "<f2", "<i4", "<u2", "|i1", "|b1"]))
    blosc = BloscCodec(
        cname=draw(st.sampled_from(["zstd", "lz4", "lz4hc", "blosclz"])),
        clevel=draw(st.integers(0, 9)),
        shuffle=draw(st.sampled_from(["noshuffle", "shuffle", "bitshuffle"])),
        typesize=draw(st.sampled_from([1, 2, 4, 16, 128])),
        blocksize=draw(st.sampled_from([0, 64, 1 << 16])),
    )
    return {
        "shape": tuple(size * draw(st.integers(1, 2)) + draw(st.integers(0, 1)) for size in files),
        "chunks": tuple(chunk),
        "shards": tuple(files) if sharded else None,
        "dtype": dtype,
        "filters": [TransposeCodec(order=draw(st.permutations(range(axes))))]
        if draw(st.booleans())
        else None,
        "compressors": (draw(st.sampled_from([blosc, ZstdCodec(level=1)])), Crc32cCodec()),
        "chunk_key_encoding": {"name": "default", "separator": "."},
    }


@pytest.mark.usefixtures("threads")
@settings(max_examples=40)
@given(asked=arrays(), data=st.data())
def test_any_grid_order_and_compressor_are_read_as_zarr_reads_them(
    asked: dict[str, Any], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        group = zarr.create_group(Path(folder) / "trajectory.zarr")
        array = group.create_array("w", **asked, config={"write_empty_chunks": True})
        rng = np.random.default_rng(0)
        array[...] = rng.integers(0, 100, array.shape).astype(array.dtype)
        reader = reader_of(Path(folder))
        for _ in range(3):
            # The first time files are read whole, and after that only what is wanted of a shard.
            selection = [data.draw(_along(size)) for size in array.shape]
            expected = np.asarray(array.oindex[tuple(selection)])
            found = np.empty(expected.shape, expected.dtype)
            reader.read(selection, found)
            np.testing.assert_array_equal(found, expected)


def _along(size: int) -> st.SearchStrategy[Any]:
    ranges = st.tuples(st.integers(0, size - 1), st.integers(1, size), st.integers(1, 3))
    lists = st.lists(st.integers(0, size - 1), min_size=1, max_size=size + 2)
    return ranges.filter(lambda ends: ends[0] < ends[1]).map(lambda ends: slice(*ends)) | lists.map(
        lambda values: np.array(values, np.int64)
    )


@pytest.mark.usefixtures("threads")
@settings(max_examples=40)
@given(
    frame=frames.frames(),
    store=st.sampled_from(STORES),
    kind=st.sampled_from(["float32", "native"]),
    small=st.booleans(),
    data=st.data(),
)
def test_any_index_of_any_array_in_either_dtype(
    frame: Any, store: Store, kind: ZarrDtype, small: bool, data: st.DataObject
) -> None:
    """Sealed, in the journal's tail, and across the two; chunks of a row or two make shards."""
    rows, sealed = 11, data.draw(st.integers(3, 11))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_arrays, "_CHUNK_BYTES", 1 if small else 2 << 20)
        patch.setattr(zarr_arrays, "_SHARD_CHUNKS", 2)
        path = written.write_any(
            Path(folder) / "run", frame, rows=rows, sealed=sealed, store=store, zarr_dtype=kind, block_steps=4
        )
        run = open_run(path)
        for name, spec in frame.arrays:
            recorded = np.stack([frames.values(spec, name, row) for row in range(rows)])
            key = data.draw(indices.keys(recorded.shape))
            wide = widen(recorded) if kind == "float32" else recorded
            for array, values in ((run[name], wide), (run[name].native, recorded)):
                assert array.dtype == values.dtype
                expected = indices.orthogonal(values, key)
                assert _same(array[key], expected)
                assert _same(array[:], values)
                out = np.empty(expected.shape, expected.dtype)
                assert array.read_into(out, key) is out
                assert _same(out, expected)


def _same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    return (found.shape, found.dtype, found.tobytes()) == (expected.shape, expected.dtype, expected.tobytes())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["float32", "native"])
def test_every_bit_pattern_comes_back_natively_and_widened(
    tmp_path: Path, dtype: str, kind: ZarrDtype
) -> None:
    frame = written.frame_of((256, 256), embeddings=dtype)
    run = written.write_run(tmp_path / "run", rows=0, sealed=0, frame=frame, store="zarr", zarr_dtype=kind)
    every = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    run.journal.begin(0)
    run.journal.payload(0, "embeddings")[:] = every.tobytes()
    run.journal.commit(0, 0, (0.0, 0.0), seal=True)
    run.sealer.seal(run.journal, 1)
    found = open_run(run.path)["embeddings"]
    native = found.native[0]
    assert np.array_equal(native.view(np.uint16), every)
    if kind == "float32":
        assert np.array_equal(narrow(found[0], native.dtype).view(np.uint16), every)


# What is damaged after it was read once


@pytest.fixture(params=["a chunk", "a shard"])
def read_once(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose files have been compared with the manifest already."""
    if request.param == "a shard":
        monkeypatch.setattr(zarr_arrays, "_CHUNK_BYTES", 64)
        monkeypatch.setattr(zarr_arrays, "_SHARD_CHUNKS", 4)
    frame = written.frame_of((9, 16), embeddings="float32")
    path = written.write_run(tmp_path / "run", rows=8, sealed=8, frame=frame, store="zarr").path
    run = open_run(path)
    sharded = run.layout.arrays["embeddings"]["codecs"][0]["name"] == "sharding_indexed"
    assert sharded == (request.param == "a shard")
    run["embeddings"][:]
    return run


def test_a_flipped_bit_is_reported_with_block_and_steps_and_never_returned(read_once: Run) -> None:
    expected = encoded.matrices(range(8), (9, 16), "float32")
    rng = np.random.default_rng(0)
    for name in sorted((read_once.path / "trajectory.zarr" / "embeddings").glob("c.1.*")):
        content = name.read_bytes()
        said: list[str] = []
        for place in rng.choice(len(content) * 8, 60, replace=False).tolist():
            data = bytearray(content)
            data[place // 8] ^= 1 << place % 8
            name.write_bytes(data)
            for key in (slice(None), (slice(4, 8), 3), 5):
                try:
                    values = read_once["embeddings"][key]
                except DamagedError as error:
                    said.append(str(error))
                else:
                    assert _same(values, expected[key]), f"bit {place} of {name}"
        assert said
        assert all(f"{name} (block 1, steps 4..7)" in message for message in said)
        name.write_bytes(content)
    assert _same(read_once["embeddings"][:], expected)


@pytest.mark.parametrize("harm", ["deleted", "emptied", "halved", "a directory", "zeros", "another file"])
def test_what_is_gone_or_cut_short_is_reported_and_never_filled_up(read_once: Run, harm: str) -> None:
    (name, other) = sorted((read_once.path / "trajectory.zarr" / "embeddings").glob("c.?.0.0"))
    content = name.read_bytes()
    name.unlink()
    if harm == "a directory":
        name.mkdir()
    elif harm != "deleted":
        harmed = {
            "emptied": b"",
            "halved": content[: len(content) // 2],
            "zeros": bytes(len(content)),
            "another file": other.read_bytes()[:-9],
        }
        name.write_bytes(harmed[harm])
    for key in (slice(None), (slice(None), 3), 2):
        with pytest.raises(DamagedError, match=r"c\.0\.0\.0 \(block 0, steps 0\.\.3\)"):
            read_once["embeddings"][key]
    assert read_once["embeddings"][4:].shape == (4, 9, 16), "the other block can be read"


@given(st.binary(max_size=80), st.booleans())
def test_bytes_that_are_no_frame_are_refused_before_blosc_believes_them(data: bytes, valid: bool) -> None:
    """Blosc reads and writes as much as the header of a frame says."""
    frame = Blosc("lz4", 5, Blosc.SHUFFLE).encode(np.arange(16, dtype=np.float32)) if valid else data
    frame = frame[: len(data)] if valid and len(data) < len(frame) else frame
    metadata = {
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [16]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": {}},
            {"name": "crc32c"},
        ],
    }
    out = np.zeros(64, np.uint8)
    try:
        ChunkDecoder.of(metadata).decode(memoryview(frame + b"crc?"), out, proven=True)
    except (*MALFORMED, RuntimeError):
        return
    assert np.array_equal(out.view(np.float32), np.arange(16))


# Several cores, and the reader that zarr is for codecs of others


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("store", STORES)
@settings(max_examples=3)
@given(keys=st.lists(indices.keys((11, 9, 4)), min_size=4, max_size=4))
def test_threads_and_forked_children_read_what_one_reader_does_also_after_a_compaction(
    store: Store, keys: list[Any]
) -> None:
    """Each its own keys of one open run, part of which is in the journal, as the workers of a loader do."""
    with tempfile.TemporaryDirectory() as folder:
        frame = written.frame_of((9, 4), embeddings="bfloat16")
        recorded = written.write_run(
            Path(folder) / "run", rows=11, sealed=8, frame=frame, store=store, effort="none"
        )
        expected = encoded.matrices(range(11), (9, 4), "bfloat16")
        array = open_run(recorded.path)["embeddings"].native

        def right(key: Any) -> bool:
            return _same(array[key], indices.orthogonal(expected, key))

        def all_right() -> bool:
            with ThreadPoolExecutor(len(keys)) as pool:
                return all(pool.map(right, keys))

        def read_everywhere() -> None:
            assert in_a_child(all_right)
            assert all_right()
            assert in_a_child(all_right)

        read_everywhere()
        if store != "safetensors":
            # The rows in the journal are sealed first, and the block of some of them is replaced by a longer.
            recorded.journal.close()
            compact(recorded.path)
            read_everywhere()


def in_a_child(work: Callable[[], bool]) -> bool:
    """What a forked child finds."""
    with warnings.catch_warnings():
        # Newer Pythons warn of threads, which zarr has.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        found = False
        try:
            found = work()
        finally:
            os._exit(0 if found else 1)
    return os.waitpid(child, 0)[1] == 0


def test_two_chunks_are_decoded_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_reader, "_BYTES_FOR_THREADS", 0)
    monkeypatch.setattr(chunk_reader, "threads_worth_having", lambda: 2)
    path = written.write_run(tmp_path / "run", rows=8, sealed=8, store="zarr").path
    together = threading.Barrier(2, timeout=30)
    decode = ChunkDecoder.decode

    def waiting(decoder: ChunkDecoder, data: memoryview, out: NDArray[np.uint8], *, proven: bool) -> None:
        together.wait()
        decode(decoder, data, out, proven=proven)

    monkeypatch.setattr(ChunkDecoder, "decode", waiting)
    found = open_run(path)["embeddings"][:]
    assert _same(found, encoded.matrices(range(8), (5, 3), "float32"))


def test_one_error_ends_the_read_and_every_file_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_reader, "_BYTES_FOR_THREADS", 0)
    path = written.write_run(tmp_path / "run", rows=80, sealed=80, store="zarr").path
    asked = itertools.count(1)

    def refusing(*_: Any, **__: Any) -> None:
        next(asked)
        raise RuntimeError("no")

    monkeypatch.setattr(ChunkDecoder, "decode", refusing)
    with pytest.raises(DamagedError, match=r"block \d+, steps .* cannot be decoded: no"):
        open_run(path)["embeddings"][:]
    assert next(asked) < 20


def test_codecs_of_others_are_left_to_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written.write_run(tmp_path / "run", rows=9, sealed=8, store="zarr").path
    expected = {name: open_run(path)[name][:] for name in ("embeddings", "loss")}

    def unknown(*_: Any) -> None:
        raise ValueError("of another")

    monkeypatch.setattr(ChunkDecoder, "of", unknown)
    run = open_run(path)
    for name, values in expected.items():
        assert _same(run[name][:], values)
        assert _same(run[name].native[2:5], values[2:5])
    assert _same(run["embeddings"][:, 1], expected["embeddings"][:, 1])


# Into memory that is there


def test_memory_of_another_shape_or_dtype_is_refused(tmp_path: Path) -> None:
    path = written.write_run(
        tmp_path / "run", rows=6, sealed=4, frame=written.frame_of(embeddings="bfloat16")
    ).path
    array = open_run(path)["embeddings"]
    fixed = np.empty((6, 5, 3), np.float32)
    fixed.flags.writeable = False
    refused: list[tuple[Any, str]] = [
        (
            np.empty((5, 5, 3), np.float32),
            r"float32 of shape \(6, 5, 3\); out is float32 of shape \(5, 5, 3\)",
        ),
        (np.empty((6, 5, 3), np.float64), "out is float64"),
        (np.empty((6, 5, 3), array.native.dtype), "out is bfloat16"),
        ([0.0], "out is list"),
        (fixed, "read-only"),
    ]
    for out, words in refused:
        with pytest.raises(ArgumentError, match=words):
            array.read_into(out)
    strided = np.zeros((6, 10, 3), np.float32)
    array.read_into(strided[:, ::2])
    assert _same(strided[:, ::2], array[:])
    assert not strided[:, 1::2].any()
