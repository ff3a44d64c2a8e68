"""The zarr extension type, through zarr's own front door."""

import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import zarr

from embevo.run.format.bfloat16 import BFloat16, DataTypeValidationError
from support import encoded

ALL = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    group = zarr.create_group(tmp_path / "group.zarr")
    array = group.create_array(
        "all",
        shape=ALL.shape,
        dtype=ALL.dtype,
        chunks=(1000,),
        fill_value=float("nan"),
        dimension_names=("pattern",),
        # numpy warns where zarr compares the signalling NaNs with the fill value.
        config={"write_empty_chunks": True},
    )
    array[:] = ALL
    return tmp_path / "group.zarr"


def test_every_pattern_survives(stored: Path) -> None:
    for array in (zarr.open_group(stored, mode="r")["all"], zarr.open_array(stored / "all", mode="r")):
        assert encoded.same_bits(np.asarray(array[:]), ALL)


def test_the_metadata_is_that_of_the_extension(stored: Path) -> None:
    metadata = json.loads((stored / "all" / "zarr.json").read_text())
    assert metadata["data_type"] == "bfloat16"
    assert metadata["fill_value"] == "NaN"


@pytest.mark.parametrize(
    ("module", "read"),
    [
        ("zarr", "zarr.open(path, mode='r')['all'][:]"),
        ("zarr", "zarr.open_group(path, mode='r')['all'][:]"),
        (
            "xarray",
            "xarray.open_zarr(path, chunks=None, mask_and_scale=False, consolidated=False)['all'].values",
        ),
    ],
)
def test_a_process_that_never_heard_of_embevo_reads_it(stored: Path, module: str, read: str) -> None:
    code = (
        f"import sys, {module}; path = sys.argv[1]; values = {read};"
        "assert 'torch' not in sys.modules;"
        "sys.stdout.buffer.write(values.dtype.name.encode() + b' ' + values.tobytes())"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(stored)]
    output = subprocess.run(command, check=True, capture_output=True, cwd=stored).stdout
    assert output == b"bfloat16 " + ALL.tobytes()


@pytest.mark.parametrize(
    ("written", "value"),
    [("NaN", np.nan), ("Infinity", np.inf), ("-Infinity", -np.inf), (1.5, 1.5), (0, 0.0), ("0x3fc0", 1.5)],
)
def test_fill_values(written: object, value: float) -> None:
    scalar = BFloat16().from_json_scalar(written, zarr_format=3)
    assert type(scalar) is ml_dtypes.bfloat16
    np.testing.assert_equal(float(scalar), value)
    again = BFloat16().from_json_scalar(BFloat16().to_json_scalar(scalar, zarr_format=3), zarr_format=3)
    np.testing.assert_equal(float(again), value)


def test_other_types_and_formats_are_refused() -> None:
    with pytest.raises(DataTypeValidationError):
        BFloat16.from_native_dtype(np.dtype(np.float16))
    with pytest.raises(DataTypeValidationError):
        BFloat16.from_json("float32", zarr_format=3)
    with pytest.raises(DataTypeValidationError):
        BFloat16.from_json("bfloat16", zarr_format=2)
    with pytest.raises(ValueError, match="format 3 only"):
        BFloat16().to_json(zarr_format=2)
    with pytest.raises(TypeError, match="is not a number"):
        BFloat16().cast_scalar("1.5")
