"""What a recording will take, worked out before it begins: bytes, memory, bandwidth; and what there is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Final

from embevo.run.format.chunks import ChunkEncoder
from embevo.run.format.effort import AskedEffort, Effort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for, files_by_array
from embevo.run.format.schedule import Schedule
from embevo.run.journal.header import header_of, journal_bytes
from embevo.run.limits import (
    DiskRoom,
    Limit,
    available_cores,
    available_memory,
    disk_room,
    nearest,
    refusal_of,
)
from embevo.run.rates import copy_rate, encoding, file_seconds, write_rate

# How many times smaller than its safetensors bytes a trajectory has been found to be in Zarr, least and most,
# by the recorded dtype. For blocks of many steps the least is of values around 0.02 that all move by about a
# hundredth of themselves at every step, as in the first hundred steps of a training, and the most of runs of
# the experiment; for blocks of few, updates of all and of few rows; for blocks of one, one Gaussian matrix.
# benchmarks/size.py and benchmarks/frames.py measure runs of bfloat16. A widened float16 has bits in three
# bytes, and alone gets larger.
_MANY_STEPS: Final = 100
_SHRINK: Final = {
    # blocks of many steps, of few, of one
    "bfloat16": ((2.2, 90.0), (1.4, 5.0), (1.1, 1.3)),
    "float16": ((1.5, 70.0), (0.9, 5.0), (0.7, 1.0)),
    "float32": ((1.3, 3.0), (1.1, 5.0), (1.0, 1.1)),
    "float64": ((1.1, 1.5), (1.0, 5.0), (1.0, 1.1)),
}
# The same with LZ4: what it makes of values that all move, and of updates of few rows, against zstd.
_SHRINK_FAST: Final = {
    "bfloat16": ((1.6, 30.0), (1.2, 4.0), (1.0, 1.2)),
    "float16": ((0.85, 23.0), (0.6, 3.0), (0.5, 0.72)),
    "float32": ((1.1, 2.7), (1.0, 4.2), (1.0, 1.06)),
    "float64": ((1.0, 1.5), (1.0, 4.2), (1.0, 1.08)),
}
# The part of what fills a block that compressing takes away, at least.
_OF_FILLING: Final = 0.99
# Of a dtype of whole numbers nothing is known but that masks and ids shrink well.
_SHRINK_UNKNOWN: Final = (1.0, 100.0)
# Root, group, manifest, journal, lock, folders, and what is there for a moment only while it is written.
_OTHER_FILES: Final = 16
# Of a step or a scalar.
_NUMBER_BYTES: Final = 8
#: What is being encoded of a block, at most.
CHUNKS_AT_WORK_BYTES: Final = 16 << 20


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
        effort: with which the trajectory is compressed.
        zarr_bytes: of the trajectory, least and most expected; zeros without it. With effort ``auto``, where
            training leaves a core that compresses.
        uncompressed_bytes: of the trajectory where no block is compressed, which ``auto`` may come to; 0
            without a trajectory, and where all blocks are compressed.
        files: files and directories of the run, at most.
        ring_bytes: of the journal, on the disk and mapped into memory.
        memory_bytes: the ring, one block's files and what is being encoded, at most.
    """

    frame: FrameSpec
    store: Store
    rows: int
    steps_per_second: float
    every: int
    block_steps: int
    step_bytes: int
    snapshot_bytes: int
    effort: AskedEffort
    zarr_bytes: tuple[int, int]
    uncompressed_bytes: int
    files: int
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
        schedule: Schedule | None = None,
        store: Store = "both",
        zarr_dtype: ZarrDtype = "float32",
        effort: AskedEffort = "auto",
    ) -> "Plan":
        """Work it out.

        Args:
            frame: what a step records.
            steps: optimizer steps of the training; the state before the first is recorded too.
            steps_per_second: of the training loop.
            every: record every so many steps, and the last.
            schedule: the steps that are recorded, where they are others; ``every`` is then how many steps lie
                between two of them where they are closest.
            store: as the recorder's.
            zarr_dtype: as the recorder's.
            effort: as the recorder's.
        """
        block = block_steps_for(frame, zarr_dtype)
        rows = -(-steps // every) + 1 if schedule is None else schedule.count(steps)
        kind = 0 if block >= _MANY_STEPS else 1 if block > 1 else 2
        ring = journal_bytes(header_of(frame, 2 * block, run="", boot="", host=""), frame, 2 * block)
        layout = Layout.new(
            frame,
            block_steps=block,
            store=store,
            zarr_dtype=zarr_dtype,
            has_token_count=True,
            attributes={},
        )
        blocks = -(-rows // block)
        least = most = 0.0
        for name in layout.matrices if effort != "none" else ():
            low, high = _shrinks(frame.by_name[name].dtype, kind, effort, changes_little=name == frame.main)
            least += rows * frame.nbytes(name) / high
            most += rows * frame.nbytes(name) / low
        whole = sum(
            ChunkEncoder.of(layout.arrays[name]).stored_bytes(
                frame.by_name[name].shape, frame.by_name[name].numpy_dtype
            )
            for name in layout.matrices
        )
        # As they are, a block of few rows is as long as one of many; where the effort is chosen, one that is
        # less than half full is compressed.
        stored, rest = blocks * whole, rows % block
        if effort == "auto" and 0 < 2 * rest < block:
            stored -= int(whole * (1 - rest / block) * _OF_FILLING)
        if effort == "none":
            least = most = float(stored)
        if store != "safetensors":
            # Beside the matrices: metadata, and numbers that may not shrink, such as losses.
            more = sum(map(len, layout.metadata(rows).values()))
            more += rows * _NUMBER_BYTES * (1 + len(frame.scalars))
            most, stored = most + more, stored + more
        files = (
            _OTHER_FILES + 2 * len(layout.arrays) + blocks * sum(map(prod, files_by_array(layout).values()))
        )
        if store != "zarr":
            files += rows
        # Where training leaves no core for it, nothing is compressed.
        at_work = min(block, rows) * frame.image_bytes + CHUNKS_AT_WORK_BYTES if most else 0
        return cls(
            frame,
            store,
            rows,
            steps_per_second,
            every,
            block,
            frame.image_bytes,
            rows * frame.image_bytes if store != "zarr" else 0,
            effort,
            (int(least), int(most)),
            stored if effort in ("auto", "none") else 0,
            files,
            ring,
            ring + at_work,
        )

    @property
    def raw_bytes(self) -> int:
        """All recorded steps as they are in the model."""
        return self.rows * self.step_bytes

    @property
    def disk_bytes(self) -> int:
        """What the run takes at most while it is recorded."""
        return self.snapshot_bytes + self.zarr_bytes[1] + self.ring_bytes

    def disk_bytes_in(self, block_bytes: int) -> int:
        """Bytes on a file system where a file takes a multiple of so many bytes."""
        each = -self.step_bytes % block_bytes if self.snapshot_bytes else 0
        others = self.files - (self.rows if self.snapshot_bytes else 0)
        return self.disk_bytes + self.rows * each + others * (block_bytes - 1)

    @property
    def capture_rate(self) -> float:
        """Bytes a second that the loop hands over."""
        return self.step_bytes * self.steps_per_second / self.every

    @property
    def disk_rate(self) -> float:
        """Bytes a second that the disk has to take, at most; the ring stays in memory while there is some."""
        written = self.snapshot_bytes + self.zarr_bytes[1]
        return written / self.rows * self.steps_per_second / self.every


def of_ranks(plan: Plan, ranks: int) -> Plan:
    """What so many processes take together, each of which records a piece as large as that of the plan."""
    least, most = plan.zarr_bytes
    return replace(
        plan,
        step_bytes=ranks * plan.step_bytes,
        snapshot_bytes=ranks * plan.snapshot_bytes,
        zarr_bytes=(ranks * least, ranks * most),
        uncompressed_bytes=ranks * plan.uncompressed_bytes,
        files=ranks * plan.files,
        ring_bytes=ranks * plan.ring_bytes,
        memory_bytes=ranks * plan.memory_bytes,
    )


@dataclass(frozen=True)
class Machine:
    """What there is to record with.

    Attributes:
        free_disk: bytes that the file system of the run has left.
        memory: bytes that this process can still have.
        copy_rate: bytes a second of a memory copy; None if it was not measured.
        encode_rate: bytes of recorded matrices that all cores make into blocks in a second, with the effort
            that is asked for, or the least where it is chosen; None likewise.
        encode_seconds: seconds of a core for a byte of them, by effort; empty likewise.
        write_rate: bytes a second of a written and synced file; None likewise.
        file_seconds: seconds of a core for the safetensors file of a step; None likewise.
        memory_source: what leaves no more memory, such as a control group.
        cores: that this process can use; None if that was not asked.
        disk: what else there is to know of the file system; None likewise.
        refused: why no run can be made there; empty if one can.
    """

    free_disk: int
    memory: int
    copy_rate: float | None = None
    encode_rate: float | None = None
    encode_seconds: Mapping[Effort, float] = field(default_factory=dict)
    write_rate: float | None = None
    file_seconds: float | None = None
    memory_source: str = "the machine"
    cores: Limit | None = None
    disk: DiskRoom | None = None
    refused: str = ""

    @classmethod
    def here(cls, directory: Path) -> "Machine":
        """What this machine has, for a run below ``directory``, which need not exist yet."""
        memory, disk = available_memory(), disk_room(nearest(directory))
        return cls(
            disk.free_bytes,
            int(memory.amount),
            memory_source=memory.source,
            cores=available_cores(),
            disk=disk,
            refused=refusal_of(directory),
        )

    @classmethod
    def measured(cls, directory: Path, plan: Plan, zarr_dtype: ZarrDtype) -> "Machine":
        """What this machine does, timed for a second or so; temporary files are written and deleted."""
        here, place = cls.here(directory), nearest(directory)
        # Of a matrix that does not fit into memory, not even a row may.
        fits = plan.step_bytes <= here.memory
        encoded = encoding(plan.frame, zarr_dtype) if fits and plan.store != "safetensors" else {}
        makes_files = fits and not here.refused and plan.snapshot_bytes
        return replace(
            here,
            copy_rate=copy_rate(),
            encode_rate=encoded[_least(plan.effort)].rate if encoded else None,
            encode_seconds={effort: found.cpu for effort, found in encoded.items()},
            write_rate=None if here.refused else write_rate(place),
            file_seconds=file_seconds(place, plan.step_bytes) if makes_files else None,
        )


def _least(asked: AskedEffort) -> Effort:
    """The least effort that blocks are made with."""
    return "none" if asked == "auto" else asked


def _shrinks(dtype: str, kind: int, effort: AskedEffort, *, changes_little: bool) -> tuple[float, float]:
    """How many times smaller an array becomes, least and most, in blocks of many, of few or of one step.

    A gradient is new at every step, whatever the matrix does: it may shrink no better than a single one.
    """
    found = (_SHRINK_FAST if effort == "fast" else _SHRINK).get(dtype)
    if found is None:
        return _SHRINK_UNKNOWN
    low, high = found[kind]
    return (low if changes_little else min(low, found[2][0])), high
