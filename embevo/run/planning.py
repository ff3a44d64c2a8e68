"""What a recording will take, worked out before it begins: bytes, memory, bandwidth, and whether it fits."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from embevo.run.format.chunks import ChunkEncoder
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for, stored_dtype
from embevo.run.journal.header import header_of, journal_bytes

# How many times smaller than its safetensors bytes a trajectory has been found to be in Zarr, least and most,
# by the recorded dtype: runs of the experiment for blocks of many steps, updates of all and of few rows for
# blocks of few, one Gaussian matrix for blocks of one. benchmarks/size.py and benchmarks/frames.py measure
# the first two for bfloat16. A widened float16 has bits in three bytes, and alone gets larger.
_MANY_STEPS: Final = 100
_SHRINK: Final = {
    # blocks of many steps, of few, of one
    "bfloat16": ((12.0, 90.0), (1.4, 5.0), (1.1, 1.3)),
    "float16": ((3.4, 70.0), (0.9, 5.0), (0.7, 1.0)),
    "float32": ((1.5, 3.0), (1.1, 5.0), (1.0, 1.1)),
    "float64": ((1.1, 1.5), (1.0, 5.0), (1.0, 1.1)),
}
_PROBE_BYTES: Final = 32 << 20
_CHUNKS_AT_WORK_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class Plan:
    """A recording that has not begun.

    Attributes:
        frame: what a step records.
        store: where the matrices go.
        rows: steps that are recorded.
        steps_per_second: of the training loop.
        every: distance of recorded steps.
        block_steps: S.
        step_bytes: of one step's safetensors image.
        snapshot_bytes: of all safetensors files; 0 without them.
        zarr_bytes: of the trajectory, least and most expected; zeros without it.
        ring_bytes: of the journal, on the disk and mapped into memory.
        memory_bytes: the ring, one block's compressed files and what is being encoded, at most.
    """

    frame: FrameSpec
    store: Store
    rows: int
    steps_per_second: float
    every: int
    block_steps: int
    step_bytes: int
    snapshot_bytes: int
    zarr_bytes: tuple[int, int]
    ring_bytes: int
    memory_bytes: int

    @classmethod
    def of(
        cls,
        frame: FrameSpec,
        *,
        steps: int,
        steps_per_second: float,
        every: int = 1,
        store: Store = "both",
        zarr_dtype: ZarrDtype = "float32",
    ) -> "Plan":
        """Work it out.

        Args:
            frame: what a step records.
            steps: optimizer steps of the training; the state before the first is recorded too.
            steps_per_second: of the training loop.
            every: record every so many steps, and the last.
            store: as the recorder's.
            zarr_dtype: as the recorder's.
        """
        block = block_steps_for(frame, zarr_dtype)
        rows = -(-steps // every) + 1
        kind = 0 if block >= _MANY_STEPS else 1 if block > 1 else 2
        least = most = 0.0
        for name, dtype in frame.matrices if store != "safetensors" else ():
            low, high = _SHRINK[dtype][kind]
            least += rows * frame.nbytes(name) / high
            most += rows * frame.nbytes(name) / low
        ring = journal_bytes(header_of(frame, 2 * block, run="", boot=""), frame, 2 * block)
        rest = int(min(block, rows) * most / rows) + (_CHUNKS_AT_WORK_BYTES if most else 0)
        return cls(
            frame,
            store,
            rows,
            steps_per_second,
            every,
            block,
            frame.image_bytes,
            rows * frame.image_bytes if store != "zarr" else 0,
            (int(least), int(most)),
            ring,
            ring + rest,
        )

    @property
    def raw_bytes(self) -> int:
        """All recorded steps as they are in the model."""
        return self.rows * self.step_bytes

    @property
    def disk_bytes(self) -> int:
        """What the run takes at most while it is recorded."""
        return self.snapshot_bytes + self.zarr_bytes[1] + self.ring_bytes

    @property
    def capture_rate(self) -> float:
        """Bytes a second that the loop hands over."""
        return self.step_bytes * self.steps_per_second / self.every

    @property
    def disk_rate(self) -> float:
        """Bytes a second that the disk has to take, at most; the ring stays in memory while there is some."""
        written = self.snapshot_bytes + self.zarr_bytes[1]
        return written / self.rows * self.steps_per_second / self.every


@dataclass(frozen=True)
class Machine:
    """What there is to record with.

    Attributes:
        free_disk: bytes that the file system of the run has left.
        memory: bytes that processes can still have.
        copy_rate: bytes a second of a memory copy; None if it was not measured.
        encode_rate: bytes of recorded matrices that all cores compress in a second; None likewise.
        write_rate: bytes a second of a written and synced file; None likewise.
    """

    free_disk: int
    memory: int
    copy_rate: float | None = None
    encode_rate: float | None = None
    write_rate: float | None = None

    @classmethod
    def here(cls, directory: Path) -> "Machine":
        """This machine, for a run below ``directory``, which need not exist yet."""
        return cls(shutil.disk_usage(_existing(directory)).free, _available_memory())

    @classmethod
    def measured(cls, directory: Path, plan: Plan, zarr_dtype: ZarrDtype) -> "Machine":
        """The same, timed for a second or so; a temporary file is written and deleted."""
        here = cls.here(directory)
        return cls(
            here.free_disk,
            here.memory,
            _copy_rate(),
            _encode_rate(plan.frame, zarr_dtype) if plan.store != "safetensors" else None,
            _write_rate(_existing(directory)),
        )


def warnings_of(plan: Plan, machine: Machine) -> list[str]:
    """Why the recording would not fit; empty if it does."""
    found = []
    if plan.disk_bytes > machine.free_disk:
        smaller = "" if plan.store == "zarr" else ", store only zarr"
        found.append(
            f"The run may take {_gigabytes(plan.disk_bytes)}; the disk has {_gigabytes(machine.free_disk)} "
            f"left. Record every n-th step{smaller}, or choose another disk."
        )
    if plan.memory_bytes > machine.memory:
        found.append(
            f"Ring and encoding take {_gigabytes(plan.memory_bytes)} of memory; {_gigabytes(machine.memory)} "
            "are available. Pass the recorder a smaller block_steps."
        )
    if machine.write_rate is not None and plan.disk_rate > machine.write_rate:
        found.append(
            f"The disk would have to take {_gigabytes(plan.disk_rate)} a second; it takes "
            f"{_gigabytes(machine.write_rate)}. The loop would wait for it, or drop steps."
        )
    if machine.encode_rate is not None and plan.capture_rate > machine.encode_rate:
        found.append(
            f"{_gigabytes(plan.capture_rate)} a second would have to be compressed; all cores together "
            f"manage {_gigabytes(machine.encode_rate)}. Store safetensors only, or record every n-th step."
        )
    return found


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e11 else f"{size / 1e9:.3g} GB"


def _existing(directory: Path) -> Path:
    """The directory, or the nearest above it that exists."""
    path = directory.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _available_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _copy_rate() -> float:
    source = np.ones(_PROBE_BYTES, np.uint8)
    target = source.copy()
    start = time.perf_counter()
    for _ in range(4):
        np.copyto(target, source)
    return 4 * _PROBE_BYTES / (time.perf_counter() - start)


def _encode_rate(frame: FrameSpec, zarr_dtype: ZarrDtype) -> float:
    """Of values that all change a little from step to step, in chunks as the run would have them."""
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
    start = time.perf_counter()
    for _ in encoder.files(values):
        pass
    return values.nbytes / (time.perf_counter() - start)


def _write_rate(directory: Path) -> float:
    data = np.random.default_rng(0).bytes(_PROBE_BYTES)
    with tempfile.TemporaryFile(dir=directory) as file:
        start = time.perf_counter()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return len(data) / (time.perf_counter() - start)
