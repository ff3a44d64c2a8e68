"""Decoding the chunk files of a block from their bytes alone, wherever they come from."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from embevo.errors import DamagedError
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.layout import Layout, growing
from embevo.run.format.widening import narrow


def decode_array(layout: Layout, name: str, rows: slice, files: Mapping[str, bytes]) -> NDArray[Any]:
    """Rows ``(row, ...)`` of an array of the group, each chunk's CRC-32C compared with its bytes.

    Args:
        layout: of the run.
        name: of the array; one that does not grow is read whole.
        rows: which; all of one block.
        files: the chunk files by key.

    Raises:
        DamagedError: a chunk is missing or damaged.
    """
    prototype = default_buffer_prototype().buffer
    metadata = f"{name}/zarr.json"
    held: dict[str, Buffer] = {metadata: prototype.from_bytes(layout.metadata(rows.stop)[metadata])}
    held |= {key: prototype.from_bytes(data) for key, data in files.items() if key.startswith(f"{name}/")}
    try:
        array = zarr.open_array(MemoryStore(held), path=name, mode="r")
        values = np.asarray(array[rows.start :] if name in growing(layout) else array[:])
    except (*MALFORMED, RuntimeError, MemoryError) as error:
        raise DamagedError(f"trajectory.zarr/{name}: {error or type(error).__name__}") from error
    dtype = layout.frame.by_name.get(name)
    return values if dtype is None else narrow(values, layout.frame.dtype(name))
