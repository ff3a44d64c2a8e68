"""Whether a step, or a look at the run, costs more the longer the run is."""

import statistics
import time
from pathlib import Path

import torch

from benchmarks.capture import cpu_seconds
from benchmarks.result import Ratio, Result, duration
from embevo import Recorder, open_run
from embevo.run.reader import Run

_TENTHS = 10


def _seconds(run: Run, rows: slice) -> float:
    """Seconds of taking in what is new and reading rows, the median of several times."""
    taken = []
    for _ in range(21):
        start = time.perf_counter()
        run.refresh()
        run["embeddings"][rows]
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(directory: Path, *, quick: bool, steps: int = 0) -> Result:
    """A run of tiny matrices, in ten parts."""
    steps = steps or (10_000 if quick else 200_000)
    part = steps // _TENTHS
    matrix = torch.randn(4, 4)
    columns = (
        "steps so far",
        "a step, all cores",
        "capture p50",
        "newest row, open run",
        "last 1,000 rows",
    )
    cpu, captures, newest, block = [], [], [], []
    with Recorder(directory / "growth", {"embeddings": matrix}, store="zarr") as recorder:
        for number in range(_TENTHS):
            began = cpu_seconds()
            blocked = []
            for step in range(number * part, (number + 1) * part):
                matrix += 1e-3
                start = time.perf_counter()
                recorder.capture(step)
                blocked.append(time.perf_counter() - start)
            recorder.flush()
            cpu.append((cpu_seconds() - began) / part)
            captures.append(statistics.median(blocked))
            run = open_run(directory / "growth")
            newest.append(_seconds(run, slice(-1, None)))
            block.append(_seconds(run, slice(-1000, None)))
    result = Result(
        "Growth",
        f"A run of {steps:,} steps of 4 x 4 float32, store zarr, looked at ten times on its way.",
        columns,
        [
            (
                f"{(n + 1) * part:,}",
                duration(cpu[n]),
                duration(captures[n]),
                duration(newest[n]),
                duration(block[n]),
            )
            for n in range(_TENTHS)
        ],
        samples={
            "steps": [(n + 1) * part for n in range(_TENTHS)],
            "a step, all cores": cpu,
            "capture p50": captures,
            "newest row": newest,
            "last 1,000 rows": block,
        },
    )
    for what, found in (("a step", cpu), ("the newest row", newest), ("the last block", block)):
        late = tuple(late / early for late, early in zip(found[-3:], found[1:4], strict=True))
        result.ratios.append(Ratio(f"{what}: end of the run over its beginning", late, "<= 1.5"))
    return result
