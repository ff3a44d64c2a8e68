"""Where figures, reports and films may be written, found out before anything is computed for them."""

import os
from pathlib import Path
from typing import Final

from embevo.errors import DestinationError

# Every file that embevo draws names its maker near one of its ends.
_MARK: Final = b"embevo"
_LOOKED_AT: Final = 1 << 16


def check_destination(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that could not be written, or would replace one that embevo did not draw.

    Raises:
        DestinationError: its directory is missing or cannot be written, there is a directory of its name, or
            a file that embevo did not draw, which only ``overwrite`` replaces.
    """
    check_directory(path.absolute().parent, what=str(path))
    if path.is_dir():
        raise DestinationError(f"{path} is a directory; name a file, such as {path / path.name}")
    if path.exists() and not overwrite and not _is_ours(path):
        raise DestinationError(
            f"{path} is there already, and embevo did not make it; choose another name, or --overwrite"
        )


def check_directory(directory: Path, *, what: str) -> None:
    """Refuse a directory in which nothing could be written.

    Raises:
        DestinationError: it is missing, not a directory, or cannot be written.
    """
    if not directory.exists():
        raise DestinationError(f"{what} cannot be written: there is no directory {directory}; make it first")
    if not directory.is_dir():
        raise DestinationError(f"{what} cannot be written: {directory} is not a directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DestinationError(f"{what} cannot be written: no permission to write into {directory}")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        if _MARK in file.read(_LOOKED_AT):
            return True
        file.seek(max(0, path.stat().st_size - _LOOKED_AT))
        return _MARK in file.read(_LOOKED_AT)
