"""What a machine does in a second: copies, makes blocks, writes; timed for a moment each."""

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from embevo.run.disk.atomic import write_file
from embevo.run.format.chunks import ChunkEncoder
from embevo.run.format.effort import EFFORTS, Effort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, ZarrDtype, block_steps_for, stored_dtype

_PROBE_BYTES: Final = 32 << 20
_PROBE_FILES: Final = 50
# A full disk, a full quota, ulimit -f.
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def copy_rate() -> float:
    """Bytes a second of a copy in memory."""
    source = np.ones(_PROBE_BYTES, np.uint8)
    target = source.copy()
    start = time.perf_counter()
    for _ in range(4):
        np.copyto(target, source)
    return 4 * _PROBE_BYTES / (time.perf_counter() - start)


@dataclass(frozen=True)
class Encoded:
    """What it takes to make blocks: bytes a second on all cores, and seconds of a core for a byte."""

    rate: float
    cpu: float


def encoding(frame: FrameSpec, zarr_dtype: ZarrDtype) -> dict[Effort, Encoded]:
    """Values that all change a little, encoded in the run's chunks with each effort."""
    block = block_steps_for(frame, zarr_dtype)
    name = frame.main
    spec = frame.by_name[name]
    width = prod(spec.shape[1:]) * stored_dtype(spec.dtype, zarr_dtype).itemsize
    layout = Layout.new(
        frame, block_steps=block, store="zarr", zarr_dtype=zarr_dtype, has_token_count=False, attributes={}
    )
    # As the run would be encoded, on all cores where it would be.
    encoder = ChunkEncoder.of(layout.arrays[name])
    sample = (max(1, min(spec.shape[0], _PROBE_BYTES // (block * width))), *spec.shape[1:])
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 1e-4, (block, *sample)).astype(np.float32)
    steps[0] += rng.normal(0, 0.02, sample)
    values = steps.cumsum(0, dtype=np.float32).astype(frame.dtype(name))
    found = {}
    for effort in EFFORTS:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in encoder.files(values, effort):
            pass
        taken = time.process_time() - cpu
        found[effort] = Encoded(values.nbytes / (time.perf_counter() - start), taken / values.nbytes)
    return found


def write_rate(directory: Path) -> float | None:
    """Bytes a second of a file that is written and synced; None where there is no room for one."""
    with _where_there_is_room():
        return _write_rate(directory)
    return None


def file_seconds(directory: Path, size: int) -> float | None:
    """Seconds of a core for a file of so many bytes; None where there is no room for some."""
    with _where_there_is_room():
        return _file_seconds(directory, size)
    return None


@contextlib.contextmanager
def _where_there_is_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise


def _write_rate(directory: Path) -> float:
    data = np.random.default_rng(0).bytes(_PROBE_BYTES)
    with tempfile.TemporaryFile(dir=directory) as file:
        start = time.perf_counter()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return len(data) / (time.perf_counter() - start)


def _file_seconds(directory: Path, size: int) -> float:
    data = bytes(size)
    files = max(1, min(_PROBE_FILES, _PROBE_BYTES // max(size, 1)))
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        start = time.thread_time()
        for number in range(files):
            write_file(f"{folder}/{number}", data, sync=False)
        return (time.thread_time() - start) / files
