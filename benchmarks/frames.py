"""Large matrices: how long a capture blocks, and how many bytes a second are kept up with."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.result import Ratio, Result, duration, ratios
from embevo import Recorder

SHAPES = ((32_000, 1024), (151_936, 256))
UPDATES = ("a hundredth of the rows", "all rows")


class Updates:
    """A bfloat16 matrix and how it changes from step to step."""

    def __init__(self, shape: tuple[int, int], kind: str) -> None:
        torch.manual_seed(0)
        self._exact = torch.randn(shape) * 0.02
        self._noise = torch.randn(shape) * 1e-4
        self._kind = kind
        self.matrix = self._exact.to(torch.bfloat16)

    def advance(self) -> None:
        """As an optimizer would: the exact values move, the recorded ones are rounded from them."""
        if self._kind == "all rows":
            self._exact += self._noise.roll(1, 0)
            self.matrix.copy_(self._exact)
            return
        rows = torch.randint(len(self._exact), (len(self._exact) // 100,))
        self._exact[rows] += 10 * self._noise[rows]
        self.matrix[rows] = self._exact[rows].to(torch.bfloat16)


def record(updates: Updates, path: Path, steps: int) -> tuple[list[float], float]:
    """Blocking seconds of each capture, and seconds from the first update until all is on the disk."""
    blocked = []
    recorder = Recorder(path, {"embeddings": updates.matrix}, store="zarr")
    start = time.perf_counter()
    with recorder:
        for step in range(steps):
            updates.advance()
            before = time.perf_counter()
            recorder.capture(step)
            blocked.append(time.perf_counter() - before)
    sync(path)
    return blocked, time.perf_counter() - start


def save(updates: Updates, path: Path, steps: int) -> tuple[list[float], float]:
    """The same with one safetensors file a step, written in the loop."""
    path.mkdir()
    blocked = []
    start = time.perf_counter()
    for step in range(steps):
        updates.advance()
        before = time.perf_counter()
        save_file({"embeddings": updates.matrix}, path / f"step_{step:07d}.safetensors")
        blocked.append(time.perf_counter() - before)
    sync(path)
    return blocked, time.perf_counter() - start


def sync(path: Path) -> None:
    """Have the files below a directory on the disk: what only waits in memory was not sustained."""
    for file in path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def copies(matrix: Tensor, times: int) -> list[float]:
    """Seconds of one memory copy, into memory that has been touched before."""
    target = matrix.clone()
    taken = []
    for _ in range(times):
        before = time.perf_counter()
        target.copy_(matrix)
        taken.append(time.perf_counter() - before)
    return taken


def measure(directory: Path, *, quick: bool) -> Result:
    """Every shape with every kind of update."""
    steps, rounds = (6, 1) if quick else (50, 1)
    result = Result(
        "Large matrices",
        f"{steps} steps of bfloat16 in CPU memory, store zarr. Sustained: the bytes of all steps over the "
        "seconds from the first update until every file is on the disk, fsynced. Peak memory: what recording "
        "adds to a process's when all rows change.",
        (
            "",
            "one copy",
            "capture, ring free",
            "capture, all",
            "embevo",
            "save_file",
            "stored",
            "peak memory",
        ),
    )
    for shape in SHAPES[:1] if quick else SHAPES:
        peak = _peak_memory(shape, directory / "peak")
        for kind in UPDATES[:1] if quick else UPDATES:
            _measure_one(result, directory / "frames", shape, kind, steps, rounds, peak)
    return result


def _measure_one(
    result: Result,
    directory: Path,
    shape: tuple[int, int],
    kind: str,
    steps: int,
    rounds: int,
    peak: int,
) -> None:
    name = f"{shape[0]:,} x {shape[1]:,}, {kind} change"
    directory.mkdir(exist_ok=True)
    megabytes = steps * shape[0] * shape[1] * 2 / 1e6
    ours, theirs, free, every = [], [], [], []
    copied = copies(Updates(shape, kind).matrix, 10)
    for number in range(rounds):
        blocked, taken = record(Updates(shape, kind), directory / f"run-{number}", steps)
        # The ring has room for at least these; the very first capture finds cold caches.
        free += blocked[1:5]
        every += blocked
        ours.append(megabytes / taken)
        stored = sum(f.stat().st_size for f in (directory / f"run-{number}").rglob("*") if f.is_file())
        _, taken = save(Updates(shape, kind), directory / f"files-{number}", steps)
        theirs.append(megabytes / taken)
    # Few files, but gigabytes.
    shutil.rmtree(directory)
    result.rows.append(
        (
            name,
            duration(statistics.median(copied)),
            duration(statistics.median(free)),
            duration(statistics.median(every)),
            f"{statistics.median(ours):,.0f} MB/s",
            f"{statistics.median(theirs):,.0f} MB/s",
            f"{megabytes * 1e6 / stored:.1f} times smaller",
            f"{peak / 1e6:,.0f} MB",
        )
    )
    result.ratios += [
        Ratio(
            f"{name}: capture, ring free, over one copy",
            tuple(f / statistics.median(copied) for f in free),
            "<= 2",
        ),
        Ratio(f"{name}: sustained rate over save_file's", ratios(ours, theirs), ">= 1"),
    ]
    result.samples[name] = {
        "copy": copied,
        "blocked": every,
        "embevo_mb_per_second": ours,
        "save_file_mb_per_second": theirs,
        "peak_bytes_above_the_model": peak,
    }


_CHILD = """
import sys
from pathlib import Path
from benchmarks.frames import Updates, record
from benchmarks.machine import peak_memory
updates = Updates((int(sys.argv[1]), int(sys.argv[2])), "all rows")
updates.advance()
before = peak_memory()
record(updates, Path(sys.argv[3]), 12)
print(peak_memory() - before)
"""


def _peak_memory(shape: tuple[int, int], path: Path) -> int:
    """Bytes by which recording raises the peak of a process: the mapped ring, and what is being encoded."""
    command = [sys.executable, "-c", _CHILD, str(shape[0]), str(shape[1]), str(path)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # Few files, but gigabytes.
    shutil.rmtree(path)
    return peak
