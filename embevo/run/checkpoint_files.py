"""The files of a checkpoint, as bytes known to be whole; what they mean is the training's affair.

``checkpoint.json`` is a line with the checksum of the rest, and JSON that has the length and the checksum of
``state.safetensors``.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

from embevo.errors import DamagedError
from embevo.run.disk.checksum import checksum
from embevo.run.disk.malformed import MALFORMED
from embevo.run.disk.regular_file import read_regular

STATE: Final = "state.safetensors"
INDEX: Final = "checkpoint.json"
# An empty file in the directory of a checkpoint that later ones do not replace. It is a file of its own, so
# that a damaged checkpoint is still known to be one to keep.
MARK: Final = "kept"
_MAX_INDEX_BYTES: Final = 1 << 26
_NAME: Final = re.compile(r"step_([0-9]{7,})")


def checkpoint_steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in a run's directory of them, ascending; empty if there is none."""
    if not directory.is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def is_kept(directory: Path, step: int) -> bool:
    """Whether the checkpoint of a step stays when later ones are saved."""
    return (directory / f"step_{step:07d}" / MARK).exists()


def pack_index(index: dict[str, Any], state: bytes) -> bytes:
    """The bytes of ``checkpoint.json`` for an index and the bytes of ``state.safetensors``."""
    whole = {**index, "bytes": len(state), "xxh3": f"{checksum(state):016x}"}
    body = json.dumps(whole, indent=1).encode("ascii") + b"\n"
    return f"{checksum(body):016x}\n".encode("ascii") + body


def read_checkpoint(path: Path) -> tuple[dict[str, Any], bytes]:
    """The index and the bytes of ``state.safetensors``, every byte checked.

    Raises:
        DamagedError: a file is missing, or is not what was written.
    """
    mark, _, body = _read(path / INDEX, _MAX_INDEX_BYTES).partition(b"\n")
    if mark != f"{checksum(body):016x}".encode("ascii"):
        raise DamagedError(f"{path / INDEX} is damaged: its bytes are not those that were written")
    try:
        index: dict[str, Any] = json.loads(body)
        length, expected = int(index["bytes"]), str(index["xxh3"])
    except MALFORMED as error:
        raise DamagedError(f"{path / INDEX} is not one that embevo writes") from error
    state = _read(path / STATE, length)
    if len(state) != length or f"{checksum(state):016x}" != expected:
        raise DamagedError(f"{path / STATE} is damaged: its bytes are not those that were written")
    return index, state


def _read(path: Path, at_most: int) -> bytes:
    try:
        return read_regular(path, at_most)
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror}") from error
