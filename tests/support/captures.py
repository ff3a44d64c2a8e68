"""Captures of encoded matrices, and what every sink of a run holds of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import xarray
import zarr

from embevo.recording.recorder import Recorder
from embevo.run.format.layout import Store
from embevo.run.reading.reader import open_run
from support import encoded, tensors

SHAPE = (6, 4)
STEPS = 4
STORES: list[Store] = ["both", "zarr", "safetensors"]


def filled(step: int, dtype: str = "float32", shape: tuple[int, int] = SHAPE) -> torch.Tensor:
    return tensors.matrix(step, shape, dtype)


def capture(recorder: Recorder, parameter: torch.Tensor, step: int, dtype: str = "float32") -> None:
    """Capture the encoded matrix of a step, and spoil the parameter at once."""
    with torch.no_grad():
        parameter.copy_(filled(step, dtype, (parameter.shape[0], parameter.shape[1])))
        recorder.capture(step, loss=encoded.loss_of(step), lr=0.5)
        parameter.fill_(-1.0)


def steps_on_disk(path: Path) -> list[int]:
    """The steps that plain zarr sees."""
    return np.asarray(zarr.open_group(path / "trajectory.zarr", mode="r")["step"][:]).tolist()


def expected(steps: list[int], dtype: str = "float32") -> np.ndarray[Any, Any]:
    return encoded.matrices(steps, SHAPE, dtype)


SINKS: dict[str, Callable[[Path], np.ndarray[Any, Any]]] = {
    "zarr": lambda run: np.asarray(zarr.open(run / "trajectory.zarr", mode="r")["embeddings"][:]),
    "zarr array": lambda run: np.asarray(zarr.open_array(run / "trajectory.zarr/embeddings", mode="r")[:]),
    "xarray": lambda run: (
        xarray.open_zarr(run / "trajectory.zarr", chunks=None, mask_and_scale=False)["embeddings"].values
    ),
    "safetensors": lambda run: np.stack(
        [
            _numpy(safetensors.torch.load_file(path)["embeddings"])
            for path in sorted((run / "snapshots").iterdir())
        ]
    ),
    "reader": lambda run: open_run(run)["embeddings"][:],
    "images": lambda run: np.stack(
        [open_run(run).frame.matrix(image, "embeddings") for _, image in open_run(run).images(range(11))]
    ),
}


def _numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    name = next(name for name, dtype in tensors.DTYPES.items() if dtype == tensor.dtype)
    return tensor.view(torch.uint8).numpy().view(encoded.DTYPES[name])
