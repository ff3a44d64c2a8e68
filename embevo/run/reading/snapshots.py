"""Reading the safetensors file of a step, compared with the checksum that its image was captured with."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError
from embevo.run.disk.checksum import checksum
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.frame import FrameSpec


def read_snapshot(path: Path, frame: FrameSpec, image_checksum: int) -> NDArray[np.uint8]:
    """The image ``(byte,)`` in a snapshot.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: it does not have that checksum, or is not a regular file.
    """
    image = np.frombuffer(read_regular(path, frame.image_bytes), np.uint8)
    if checksum(image.data) != image_checksum:
        raise DamagedError(f"{path} is not what was written")
    return image
