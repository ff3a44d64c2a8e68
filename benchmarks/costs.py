"""What recording costs: seconds of a core, system calls, and bytes to the disk, a step and a gigabyte.

Each way of recording runs in a process of its own, which records steps as fast as they come, closes the run,
and counts what the whole process took, less what the same process takes that records nothing.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.result import Result, duration

_ROUNDS: Final = 3
# Name of the way to options of the recorder; None records nothing.
_WAYS: Final[dict[str, dict[str, Any] | None]] = {
    "nothing": None,
    "store zarr, effort none": {"store": "zarr", "effort": "none"},
    "store zarr, effort fast": {"store": "zarr", "effort": "fast"},
    "store zarr, effort small": {"store": "zarr", "effort": "small"},
    "store both, effort small": {"store": "both", "effort": "small"},
    "zarr, small, durability power": {"store": "zarr", "effort": "small", "durability": "power"},
    "both, small, durability power": {"store": "both", "effort": "small", "durability": "power"},
}
_COMPACTION: Final = "compacting that of effort none"
_COMPACTED: Final = "store zarr, effort none"


@dataclass(frozen=True)
class _Size:
    """What is recorded: so many bfloat16 or float32 tensors, for so many steps."""

    name: str
    tensors: int
    shape: tuple[int, int]
    dtype: str
    steps: int

    @property
    def raw(self) -> int:
        """Bytes of all steps."""
        rows, columns = self.shape
        return self.tensors * rows * columns * (2 if self.dtype == "bfloat16" else 4) * self.steps


_SIZES: Final = (
    _Size("small", 1, (128, 64), "float32", 2000),
    _Size("large", 4, (10_000, 64), "bfloat16", 40),
)


def measure(directory: Path, *, quick: bool) -> Result:
    """Every way, small tensors by the step and large ones by the gigabyte."""
    sizes = {size.name: size for size in _SIZES}
    result = Result(
        "What it costs",
        f"Small: one float32 tensor of 128 x 64, {sizes['small'].steps:,} steps; large: four bfloat16 ones "
        f"of 10,000 x 64, {sizes['large'].steps} steps of 5.1 MB, all of whose numbers change a little. Each "
        "way in a process of its own, from the first capture to the end of close, less a process that "
        "records nothing; compaction once. Seconds of a core are those of all threads; of a capture those of "
        "the training's thread. strace counts system calls, in runs of their own.",
        ("", "CPU a step, small", "of it capture", "CPU a GB, large", "calls a step, small",
         "bytes on the disk / raw, small", "large"),
    )  # fmt: skip
    rounds = 1 if quick else _ROUNDS
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(rounds):
        for size in _SIZES:
            # It takes minutes, and always the same.
            for way in (*_WAYS, _COMPACTION) if number == 0 else _WAYS:
                found.setdefault((size.name, way), []).append(_run(directory, size, way))
    calls = {way: _calls(directory, way) for way in (*_WAYS, _COMPACTION)}
    if calls["nothing"] is None:
        result.skipped.append("system calls: strace is not installed, or may not trace")
    for way in (*_WAYS, _COMPACTION):
        if way == "nothing":
            continue
        small, large = (_beyond(found, size.name, way) for size in _SIZES)
        steps, gigabytes = sizes["small"].steps, sizes["large"].raw / 1e9
        counted, none = calls[way], calls["nothing"]
        result.rows.append((
            way,
            duration(statistics.median(small) / steps),
            "-" if way == _COMPACTION else duration(_median(found, "small", way, "capture") / steps),
            duration(statistics.median(large) / gigabytes),
            "-" if counted is None or none is None else f"{max(counted - none, 0) / _CALL_STEPS:.2f}",
            f"{_median(found, 'small', way, 'stored') / sizes['small'].raw:.3f}",
            f"{_median(found, 'large', way, 'stored') / sizes['large'].raw:.3f}",
        ))  # fmt: skip
        result.samples[way] = {"small": small, "large": large, "calls": counted}
    return result


# Enough that what a process does once is little of it.
_CALL_STEPS: Final = 1000


def _beyond(found: dict[tuple[str, str], list[dict[str, float]]], size: str, way: str) -> list[float]:
    """Seconds of a core of each round, beyond those of recording nothing."""
    nothing = [each["cpu"] for each in found[size, "nothing"]]
    mine = [each["cpu"] for each in found[size, way]]
    if way == _COMPACTION:
        return mine
    return [max(0.0, cpu - base) for cpu, base in zip(mine, nothing, strict=True)]


def _median(found: dict[tuple[str, str], list[dict[str, float]]], size: str, way: str, what: str) -> float:
    return statistics.median(each[what] for each in found[size, way])


def _run(directory: Path, size: _Size, way: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        if way == _COMPACTION:
            _child(folder, size, _COMPACTED, size.steps)
        return _child(folder, size, way, size.steps)


def _calls(directory: Path, way: str) -> int | None:
    """How many system calls a process makes; None where that cannot be counted."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        if way == _COMPACTION:
            _child(folder, _SIZES[0], _COMPACTED, _CALL_STEPS)
        counted = Path(folder) / "calls"
        before = (strace, "-f", "-c", "-o", str(counted))
        try:
            _child(folder, _SIZES[0], way, _CALL_STEPS, before)
            total = [line for line in counted.read_text().splitlines() if line.endswith("total")]
            # Share, seconds, microseconds a call, calls, and errors where there are any.
            return int(total[-1].split()[3])
        except (RuntimeError, OSError, IndexError, ValueError):
            return None


def _child(folder: str, size: _Size, way: str, steps: int, before: tuple[str, ...] = ()) -> dict[str, float]:
    """Record in a process of its own; what it says."""
    told = json.dumps({"folder": folder, "size": size.name, "way": way, "steps": steps})
    done = subprocess.run(
        [*before, sys.executable, "-m", "benchmarks.costs", told],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """What a child does: ``python -m benchmarks.costs JSON``."""
    import torch  # noqa: PLC0415 - the parent needs none

    from embevo.recording.recorder import Recorder  # noqa: PLC0415
    from embevo.run.repair.compacting import compact  # noqa: PLC0415

    told = json.loads(sys.argv[1])
    size = next(each for each in _SIZES if each.name == told["size"])
    run = Path(told["folder"]) / "run"
    torch.manual_seed(0)
    dtype = getattr(torch, size.dtype)
    tensors = {f"array_{k}": (torch.randn(size.shape) * 0.02).to(dtype) for k in range(size.tensors)}
    change = {name: torch.randn(size.shape) * 1e-4 for name in tensors}
    way = None if told["way"] == _COMPACTION else _WAYS[told["way"]]
    captured = 0.0
    began = _cpu()
    if told["way"] == _COMPACTION:
        compact(run)
    else:
        recorder = None if way is None else Recorder(run, tensors, **way)
        with recorder or nullcontext():
            for step in range(told["steps"]):
                for name, tensor in tensors.items():
                    tensor.add_(change[name])
                if recorder is not None:
                    start = time.thread_time()
                    recorder.capture(step)
                    captured += time.thread_time() - start
    cpu = _cpu() - began
    stored = sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) if run.exists() else 0
    print(json.dumps({"cpu": cpu, "capture": captured, "stored": stored}))


def _cpu() -> float:
    """Seconds of a core that this process and those it has waited for took."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
