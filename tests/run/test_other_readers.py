"""A run read by programs that know nothing of embevo, with every warning an error."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from support import encoded, written

# zarr 3.1 looks for extension types only once it has read a group.
ZARR_3_1 = zarr.__version__.startswith("3.1.")
RUNS: dict[str, tuple[str, Any]] = {
    "doubles": ("float64", "float32"),
    "singles": ("float32", "float32"),
    "wide-bfloats": ("bfloat16", "float32"),
    "wide-halves": ("float16", "float32"),
    "bfloats": ("bfloat16", "native"),
    "halves": ("float16", "native"),
}
READERS = {
    "zarr": """
import zarr
def read(path):
    group = zarr.open(path, mode="r")
    return group["embeddings"][:], group["step"][:]
""",
    "zarr, one array": """
import zarr
def read(path):
    return zarr.open(path + "/embeddings", mode="r")[:], zarr.open_array(path + "/step", mode="r")[:]
""",
    "xarray": """
import xarray
def read(path):
    data = xarray.open_zarr(path, chunks=None)
    assert dict(data.sizes) == {"step": 7, "token": 5, "dim": 3}, data.sizes
    assert set(data.coords) == {"step", "token"}, data.coords
    assert data["embeddings"].dims == ("step", "token", "dim")
    assert data["embeddings"].sel(step=30).shape == (5, 3)
    return data["embeddings"].values, data["step"].values
""",
    "tensorstore": """
import tensorstore
def read(path):
    return [
        tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/{name}"}}, read=True
        ).result().read().result()
        for name in ("embeddings", "step")
    ]
""",
}
PRINT = """
import sys
for path in sys.argv[1:]:
    values, steps = read(path)
    fields = (path, values.dtype.name, list(values.shape), list(map(int, steps)), values.tobytes().hex())
    print(*fields, sep="; ")
for name in ("torch", "embevo.run.reading.reader", "embevo.recording"):
    assert name not in sys.modules, name
"""


@pytest.mark.parametrize("reader", READERS)
def test_plain_readers_read_the_bits_without_a_warning(tmp_path: Path, reader: str) -> None:
    expected = []
    for name, (dtype, zarr_dtype) in RUNS.items():
        if reader == "zarr, one array" and name == "bfloats" and ZARR_3_1:
            continue
        run = written.write_run(
            tmp_path / name,
            rows=7,
            sealed=7,
            frame=written.frame_of(embeddings=dtype),
            zarr_dtype=zarr_dtype,
            every=10,
            token_count=np.arange(5),
        )
        values = encoded.matrices(run.steps, (5, 3), dtype)
        if zarr_dtype == "float32":
            values = encoded.widened(values)
        path = str(run.path / "trajectory.zarr")
        fields = (path, values.dtype.name, [7, 5, 3], run.steps.tolist(), values.tobytes().hex())
        expected.append("; ".join(map(str, fields)))
    paths = [line.partition(";")[0] for line in expected]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", READERS[reader] + PRINT, *paths],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.splitlines() == expected
