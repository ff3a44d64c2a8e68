"""Arrays of a run as tensors: bit for bit, in the model's dtype or in another."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from embevo import ArgumentError, Recorder, open_run
from embevo.run.reading.reader import Run

EVERY = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(256, 256)
ARRAYS = {
    "embeddings": EVERY.view(torch.bfloat16),
    "half": EVERY.view(torch.float16),
    "wide": torch.randn(256, 256),
    "double": torch.randn(7, dtype=torch.float64),
    "ids": torch.arange(12).view(2, 3, 2),
    "mask": torch.tensor([True, False, True]),
    "unsigned": EVERY[0].clone(),
}


@pytest.fixture(scope="module", params=["zarr", "both"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five rows, the last still in the journal."""
    path = tmp_path_factory.mktemp("tensors") / "run"
    recorder = Recorder(path, ARRAYS, store=request.param, block_steps=2)
    for step in range(4):
        recorder.capture(step, loss=step)
    recorder.close()
    return open_run(path)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_native_tensors_have_every_bit(run: Run, name: str) -> None:
    for dtype in ("native", ARRAYS[name].dtype):
        found = run[name].torch(dtype)
        assert found.dtype == ARRAYS[name].dtype
        assert bits(found) == 4 * bits(ARRAYS[name])
        assert bits(run[name].torch(dtype, rows=slice(1, 3))) == 2 * bits(ARRAYS[name])
        assert bits(run[name].torch(dtype, rows=-1)) == bits(ARRAYS[name])


@pytest.mark.parametrize("name", [*ARRAYS, "loss"])
def test_without_a_dtype_a_tensor_is_what_the_array_is(run: Run, name: str) -> None:
    found = run[name].torch()
    assert found.numpy().dtype == run[name].dtype
    assert found.numpy().tobytes() == run[name][:].tobytes()
    assert run[name].torch(rows=[2, 0]).shape == (2, *run[name].shape[1:])
    assert run[name].torch(rows=0).shape == run[name].shape[1:]


def test_another_dtype_is_converted_to(run: Run) -> None:
    assert torch.equal(run["wide"].torch(torch.float64), run["wide"].torch().double())
    narrow = run["wide"].torch(torch.bfloat16)
    assert torch.equal(narrow, run["wide"].torch().bfloat16())
    assert run["loss"].torch(torch.float32).tolist() == [0, 1, 2, 3]


def test_a_tensor_has_memory_of_its_own(run: Run) -> None:
    found = run["wide"].torch()
    found.zero_()
    assert np.array_equal(run["wide"][0], ARRAYS["wide"].numpy())


def test_what_is_no_dtype_is_refused(run: Run) -> None:
    with pytest.raises(ArgumentError, match="dtype='half' is none of torch's"):
        run["half"].torch("half")


def test_reading_a_run_imports_no_torch(run: Run) -> None:
    code = (
        "import sys\nfrom embevo import open_run\n"
        f"array = open_run({str(run.path)!r})['embeddings']\narray[:], array.native[0]\n"
        "assert 'torch' not in sys.modules\narray.torch()\nassert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
