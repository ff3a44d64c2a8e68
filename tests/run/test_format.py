"""A second reader of a run, written from docs/format.md without any of embevo's code."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from embevo.run.paths import RunPaths
from embevo.run.repair.rewinding import rewind
from support import encoded, written
from support.saved import saved


def checksum(data: bytes, seed: int = 0) -> int:
    return xxhash.xxh3_64_intdigest(data, seed) or 1


def digest(path: Path) -> list[Any]:
    data = path.read_bytes()
    return [len(data), f"{checksum(data):016x}"]


def read_manifest(path: Path) -> list[dict[str, Any]]:
    entries, last = [], 0
    for line in path.read_bytes().split(b"\n")[:-1]:
        text, _, digits = line.rpartition(b" ")
        last = checksum(text, last)
        assert digits == b"%016x" % last
        entries.append(json.loads(text))
    return entries


def counting(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for entry in entries:
        if entry["kind"] == "rewound":
            kept = [other for other in kept if other.get("rows", [0, 0])[1] <= entry["rows"]]
        else:
            kept.append(entry)
    return kept


def steps_in(ranges: list[list[int]]) -> list[int]:
    return [step for first, last, stride in ranges for step in range(first, last + 1, stride)]


def read_journal(path: Path, sealed: int) -> list[tuple[int, list[float], bytes]]:
    data = path.read_bytes()
    assert data[:8] == b"EMBEVO-J"
    length, expected = struct.unpack_from("<QQ", data, 8)
    text = data[24 : 24 + length]
    assert checksum(text) == expected
    header = json.loads(text)
    assert header["format"] == 1
    frame = header["frame"]
    scalars = len(frame["scalars"])
    image_bytes = len(image(frame))
    head = math.ceil((4 + scalars) * 8 / 64) * 64
    slot_bytes = math.ceil((head + image_bytes) / 64) * 64
    first_slot = math.ceil((24 + length) / 4096) * 4096
    assert len(data) == first_slot + header["slots"] * slot_bytes
    rows = []
    for row in range(sealed, sealed + header["slots"]):
        start = first_slot + row % header["slots"] * slot_bytes
        commit, seal, step, image_checksum = struct.unpack_from("<QQqQ", data, start)
        valid = seal == checksum(data[start + 16 : start + 8 * (4 + scalars)], row + 1)
        if commit != row + 1 and not valid:
            break
        assert valid
        stored = data[start + head : start + head + image_bytes]
        assert checksum(stored) == image_checksum
        rows.append((step, list(struct.unpack_from(f"<{scalars}d", data, start + 32)), stored))
    return rows


def image(frame: dict[str, Any]) -> bytes:
    """Any image of a frame: they all have one length."""
    order = ["float64", "float32", "bfloat16", "float16"]
    names = sorted(frame["matrices"], key=lambda name: (order.index(frame["matrices"][name]), name))
    assert names == list(frame["matrices"])
    return saved({name: np.zeros(frame["shape"], encoded.DTYPES[frame["matrices"][name]]) for name in names})


@pytest.mark.parametrize("store", ["both", "zarr", "safetensors"])
def test_the_documented_format_is_the_one_that_is_written(tmp_path: Path, store: Any) -> None:
    frame = written.frame_of(embeddings="bfloat16", moments="float64", ahead="bfloat16")
    run = written.write_run(tmp_path / "run", rows=13, sealed=10, store=store, frame=frame, every=5).path
    dtypes = {"moments": "float64", "ahead": "bfloat16", "embeddings": "bfloat16"}
    images = [
        saved({name: encoded.matrix(step, (5, 3), dtype) for name, dtype in dtypes.items()})
        for step in range(0, 65, 5)
    ]

    entries = read_manifest(run / "manifest")
    assert entries[0]["kind"] == "created"
    group = json.loads((run / "trajectory.zarr" / "zarr.json").read_bytes())
    own = group["attributes"]["embevo"]
    assert own == {
        "format": 1,
        "frame": {"matrices": dtypes, "shape": [5, 3], "scalars": ["loss", "learning_rate"]},
        "block_steps": 4,
        "store": store,
        "zarr_dtype": "float32",
    }
    arrays = group["consolidated_metadata"]["metadata"]
    (sealed,) = {
        metadata["shape"][0] for metadata in arrays.values() if metadata["dimension_names"][0] == "step"
    }
    assert sealed == 10
    assert any(
        entry["metadata"]["zarr.json"] == digest(run / "trajectory.zarr" / "zarr.json")
        for entry in counting(entries)
    )
    rows: dict[int, tuple[int, str]] = {}
    for entry in counting(entries):
        for key, stored in entry["files"].items():
            assert digest(run / "trajectory.zarr" / key) == stored
        if entry["kind"] == "block":
            first, stop = entry["rows"]
            assert first == 4 * entry["block"]
            checksums = [entry["images"][at : at + 16] for at in range(0, 16 * (stop - first), 16)]
            rows |= dict(
                zip(range(first, stop), zip(steps_in(entry["steps"]), checksums, strict=True), strict=True)
            )
    assert rows == {row: (5 * row, f"{checksum(images[row]):016x}") for row in range(10)}

    if store != "safetensors":
        embeddings = arrays["embeddings"]
        assert embeddings["data_type"] == "float32"
        assert embeddings["fill_value"] == "NaN"
        assert embeddings["chunk_grid"]["configuration"]["chunk_shape"] == [4, 5, 3]
        names = [codec["name"] for codec in embeddings["codecs"]]
        assert names == ["transpose", "bytes", "blosc", "crc32c"]
        assert embeddings["codecs"][0]["configuration"]["order"] == [1, 0, 2]
        assert (run / "trajectory.zarr" / "embeddings" / "c.2.0.0").is_file()
    if store != "zarr":
        for step, stored in zip(range(0, 50, 5), images, strict=False):
            assert (run / "snapshots" / f"step_{step:07d}.safetensors").read_bytes() == stored

    assert read_journal(run / "journal", sealed) == [
        (step, [encoded.loss_of(step), 0.5], stored)
        for step, stored in zip((50, 55, 60), images[10:], strict=True)
    ]


def test_entries_that_were_rewound_do_not_count(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=10, sealed=10)
    run.journal.close()
    paths = RunPaths(run.path)
    paths.journal.unlink()
    rewind(paths, 6)
    entries = read_manifest(paths.manifest)
    assert [entry["kind"] for entry in entries].count("rewound") == 1
    blocks = [entry["rows"] for entry in counting(entries) if entry["kind"] == "block"]
    assert blocks == [[0, 4], [4, 6]]
    assert counting(entries)[-1]["metadata"]["zarr.json"] == digest(paths.trajectory / "zarr.json")
