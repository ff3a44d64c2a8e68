"""safetensors files made by the safetensors library itself: what embevo's are compared with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from support import encoded


def saved(arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a file that holds these arrays."""
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)


def write_folder(
    folder: Path, steps: list[int], *, shape: tuple[int, int] = (5, 3), dtype: str = "float32"
) -> Path:
    """A notebook's folder: ``step_0000123.safetensors`` with the encoded ``embeddings`` of each step."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        data = saved({"embeddings": encoded.matrix(step, shape, dtype)})
        (folder / f"step_{step:07d}.safetensors").write_bytes(data)
    return folder
