"""Whether a step, or a look at the run, costs more the longer the run is."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.capture import cpu_seconds
from benchmarks.result import Ratio, Result, duration
from embevo import Recorder, open_run
from embevo.run.reading.reader import Run

_TENTHS = 10


def _seconds(runs: Sequence[Run], rows: slice) -> list[float]:
    """Seconds of taking in what is new and reading rows of each run in turn, medians of several times."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(21):
        for run, mine in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run.refresh()
            run["embeddings"][rows]
            mine.append(time.perf_counter() - start)
    return [statistics.median(mine) for mine in taken]


def _record(recorder: Recorder, matrix: torch.Tensor, steps: range) -> tuple[float, float]:
    """CPU seconds a step, on all cores, and the median seconds of a capture."""
    began = cpu_seconds()
    blocked = []
    for step in steps:
        matrix += 1e-3
        start = time.perf_counter()
        recorder.capture(step)
        blocked.append(time.perf_counter() - start)
    recorder.flush()
    return (cpu_seconds() - began) / len(steps), statistics.median(blocked)


def measure(directory: Path, *, quick: bool, steps: int = 0) -> Result:
    """A run of tiny matrices, in ten parts; reading is compared with a short run beside it."""
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
    cpu, captures = [], []
    # Each with that of the short run, at the same moment: a machine changes its speed.
    newest, block = [], []
    with (
        Recorder(directory / "growth", {"embeddings": matrix}, store="zarr") as recorder,
        Recorder(directory / "short", {"embeddings": matrix}, store="zarr") as beside,
    ):
        _record(beside, matrix, range(part))
        short = open_run(directory / "short")
        for number in range(_TENTHS):
            one, other = _record(recorder, matrix, range(number * part, (number + 1) * part))
            cpu.append(one)
            captures.append(other)
            runs = (open_run(directory / "growth"), short)
            newest.append(_seconds(runs, slice(-1, None)))
            block.append(_seconds(runs, slice(-1000, None)))
    result = Result(
        "Growth",
        f"A run of {steps:,} steps of 4 x 4 float32, store zarr, looked at ten times on its way, with a "
        f"run of {part:,} steps beside it.",
        columns,
        [
            (
                f"{(n + 1) * part:,}",
                duration(cpu[n]),
                duration(captures[n]),
                duration(newest[n][0]),
                duration(block[n][0]),
            )
            for n in range(_TENTHS)
        ],
        samples={
            "steps": [(n + 1) * part for n in range(_TENTHS)],
            "a step, all cores": cpu,
            "capture p50": captures,
            "newest row": [long for long, _ in newest],
            "last 1,000 rows": [long for long, _ in block],
        },
    )
    late = tuple(late / early for late, early in zip(cpu[-3:], cpu[1:4], strict=True))
    result.ratios.append(Ratio("a step: end of the run over its beginning", late, "<= 1.5"))
    for what, found in (("the newest row", newest), ("the last 1,000 rows", block)):
        ends = tuple(long / brief for long, brief in found[-3:])
        result.ratios.append(Ratio(f"{what}: end of the run over the short run", ends, "<= 1.5"))
    return result
