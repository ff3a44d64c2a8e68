"""What ``embevo compact`` makes of trained runs: their size, and how long reading them takes then.

    python -m benchmarks.compaction --runs DIR [--steps 5000]

The runs of ``DIR`` are used where they are there already, and stay as they are.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import zarr
from rich.console import Console

from benchmarks.__main__ import show
from benchmarks.result import Ratio, Result, duration
from benchmarks.size import tree_bytes
from benchmarks.trained import trained_runs
from embevo import compact

_SMALLER = {"normal, bfloat16": ">= 20", "qwen, bfloat16": ">= 65", "normal, float32": ">= 2"}
_COLUMNS = (
    "run",
    "safetensors",
    "recorded",
    "compacted",
    "times smaller",
    "took",
    "read before",
    "read after",
)


def measure(directory: Path, runs: dict[str, Path], rounds: int = 7) -> Result:
    """Sizes against the safetensors files of the same steps; whole reads of before and after take turns."""
    result = Result(
        "Compaction",
        "The whole trajectory.zarr of a run as it was recorded, and compacted. Read whole by "
        "zarr.open(...)[:], the page cache warm, before and after in turns.",
        _COLUMNS,
    )
    for name, path in runs.items():
        copy = directory / f"compacted-{path.name}"
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("snapshots", "checkpoints"))
        start = time.perf_counter()
        compact(copy)
        taken = time.perf_counter() - start
        files = tree_bytes(path / "snapshots")
        before, after = (tree_bytes(run / "trajectory.zarr") for run in (path, copy))
        reads = [(_read(path), _read(copy)) for _ in range(rounds)]
        result.rows.append(
            (
                name,
                f"{files / 1e6:.1f} MB",
                f"{before / 1e6:.2f} MB",
                f"{after / 1e6:.2f} MB",
                f"{files / before:.2f}, then {files / after:.2f}",
                f"{taken:.0f} s",
                *(duration(statistics.median(seconds)) for seconds in zip(*reads, strict=True)),
            )
        )
        result.ratios += [
            Ratio(f"{name}: files over compacted Zarr", (files / after,), "", _SMALLER[name]),
            Ratio(
                f"{name}: whole read, compacted over recorded",
                tuple(late / early for early, late in reads),
                "",
                "<= 1",
            ),
        ]
    return result


def _read(path: Path) -> float:
    """Seconds of one whole read."""
    array: Any = zarr.open_group(path / "trajectory.zarr", mode="r")["embeddings"]
    start = time.perf_counter()
    array[:]
    return time.perf_counter() - start


def main() -> None:
    """Train what is not there yet, compact copies, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="of the trained runs")
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    runs = trained_runs(options.steps, options.runs)
    with tempfile.TemporaryDirectory(prefix="embevo-bench-", dir=options.runs) as folder:
        start = time.perf_counter()
        found = measure(Path(folder), runs)
        show(Console(), found, time.perf_counter() - start, quick=False)


if __name__ == "__main__":
    main()
