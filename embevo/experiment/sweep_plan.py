"""What the runs of a sweep take together: time, disk, files and memory, and which of them is scarcest."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from embevo.experiment.grid import GridRun
from embevo.experiment.planned import plans_of
from embevo.run.planning import Machine, Plan

# Of a process that trains, beside what recording takes: torch, transformers and the default model, measured.
_PROCESS_BYTES: Final = 520_000_000


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that has not begun.

    Attributes:
        steps: of all runs.
        seconds: from the beginning to the end, where each run is begun as soon as a worker is free.
        longest_seconds: of the run that takes longest, below which no number of workers brings the sweep.
        disk_bytes: of all runs when they are complete, least and most expected.
        peak_bytes: on the disk at most while they train: the most expected, and the rings of as many runs as
            train at once.
        files: files and directories, at most.
        memory_bytes: of the processes that train at once, at most.
        cores: that they compute with.
        threads: of each of them.
    """

    steps: int
    seconds: float
    longest_seconds: float
    disk_bytes: tuple[int, int]
    peak_bytes: int
    files: int
    memory_bytes: int
    cores: int
    threads: int

    @classmethod
    def of(
        cls, runs: Sequence[GridRun], seconds_a_step: Sequence[float], *, workers: int, threads: int
    ) -> "SweepPlan":
        """Work it out.

        Args:
            runs: in the order in which they are begun.
            seconds_a_step: of each.
            workers: how many train at once.
            threads: of each.
        """
        plans = plans_of(run.config for run in runs)
        taken = [run.config.steps * each for run, each in zip(runs, seconds_a_step, strict=True)]
        at_once = min(workers, len(runs))
        least, most = _disk(plans)
        return cls(
            steps=sum(run.config.steps for run in runs),
            seconds=_makespan(taken, at_once),
            longest_seconds=max(taken, default=0.0),
            disk_bytes=(least, most),
            peak_bytes=most + _largest([plan.ring_bytes for plan in plans], at_once),
            files=sum(plan.files for plan in plans),
            memory_bytes=_largest([plan.memory_bytes + _PROCESS_BYTES for plan in plans], at_once),
            cores=at_once * threads,
            threads=threads,
        )

    def loads(self, machine: Machine) -> dict[str, float]:
        """What share of each of a machine's means the sweep needs, where all workers are on it; 1 is all."""
        block = machine.disk.block_bytes if machine.disk is not None else 1
        shares = {
            "disk space": (self.peak_bytes + self.files * (block // 2)) / max(machine.free_disk, 1),
            "memory": self.memory_bytes / max(machine.memory, 1),
        }
        if machine.disk is not None and machine.disk.free_files is not None:
            shares["files"] = self.files / max(machine.disk.free_files, 1)
        if machine.cores is not None:
            shares["cores"] = self.cores / machine.cores.amount
        return shares


def _disk(plans: Sequence[Plan]) -> tuple[int, int]:
    return (
        sum(plan.snapshot_bytes + plan.zarr_bytes[0] for plan in plans),
        sum(plan.snapshot_bytes + plan.zarr_bytes[1] for plan in plans),
    )


def _largest(amounts: Sequence[int], count: int) -> int:
    return sum(heapq.nlargest(count, amounts))


def _makespan(taken: Sequence[float], workers: int) -> float:
    """When the last of some tasks is done that are begun in order, each by the worker that is free first."""
    free = [0.0] * workers
    for seconds in taken:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free, default=0.0)
