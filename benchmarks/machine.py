"""What a benchmark ran on."""

import importlib.metadata
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "torch",
    "zarr",
    "numcodecs",
    "safetensors",
    "numpy",
    "h5py",
    "tensorstore",
    "zarrs",
    "acquire-zarr",
    "pcodec",
)


def describe(directory: Path) -> dict[str, Any]:
    """Processor, memory, the file system of a directory and versions, as plain values."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_at_start": os.getloadavg()[0],
        "file_creation_seconds": _creation(directory),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(directory),
        "python": sys.version.split()[0],
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def peak_memory() -> int:
    """The most bytes of memory that this process has had, mapped files included."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        # Not getrusage: there a process begins with the peak of the one that started it.
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _creation(directory: Path) -> float:
    """Median seconds of creating a file."""
    taken = []
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        for number in range(50):
            start = time.perf_counter()
            os.close(os.open(Path(folder) / str(number), os.O_CREAT | os.O_WRONLY))
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def _file_system(path: Path) -> str:
    """The type of the file system that a path lies on; empty where that cannot be told."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    on = [(len(mount[1]), mount[2]) for mount in mounts if path.resolve().is_relative_to(mount[1])]
    return max(on)[1] if on else ""
