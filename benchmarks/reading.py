"""Reading a recorded run back, against loading the safetensors files of its steps."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from safetensors.torch import load_file

from benchmarks.result import Ratio, Result, duration, ratios
from embevo import Recorder, open_run

TOKEN = 101


def seconds(call: Callable[[], Any]) -> float:
    """One call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _whole(group: str) -> Any:
    array = zarr.open_group(group, mode="r")["embeddings"]
    assert isinstance(array, zarr.Array)
    return array[:]


def lengthened(source: Path, path: Path, rows: int) -> Path:
    """A run of so many rows: the matrices of a trained one, over and over, as its steps were recorded."""
    files = sorted((source / "snapshots").glob("*.safetensors"))
    states = [load_file(file)["embeddings"] for file in files]
    matrix = states[0].clone()
    with Recorder(path, {"embeddings": matrix}) as recorder:
        for row in range(rows):
            matrix.copy_(states[row % len(states)])
            recorder.capture(row)
    return path


def measure(directory: Path, runs: dict[str, Path], *, quick: bool) -> Result:
    """The page cache is warm for all; every round reads everything once."""
    path = lengthened(runs["normal, bfloat16"], directory / "reading", 1001 if quick else 5001)
    files = sorted((path / "snapshots").glob("*.safetensors"))
    group = str(path / "trajectory.zarr")
    run = open_run(path)
    array = zarr.open_group(group, mode="r")["embeddings"]
    assert isinstance(array, zarr.Array)
    trajectory = np.asarray(array[:])
    middle = len(files) // 2
    calls: dict[str, Callable[[], Any]] = {
        "whole, zarr.open(...)[:]": lambda: _whole(group),
        "whole, open_run(...)[:], checksums compared": lambda: open_run(path)["embeddings"][:],
        "whole, every safetensors file": lambda: torch.stack([load_file(f)["embeddings"] for f in files]),
        "whole, np.copy in memory": trajectory.copy,
        "one token, zarr": lambda: array[:, TOKEN],
        "one token, every safetensors file": lambda: torch.stack(
            [load_file(f)["embeddings"][TOKEN] for f in files]
        ),
        "one step, its safetensors file": lambda: load_file(files[middle]),
        "one step, open_run": lambda: run["embeddings"][middle],
        "one step, zarr": lambda: array[middle],
    }
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(4 if quick else 10):
        for name, call in calls.items():
            # What is over in a moment is read often.
            times = 20 if name.startswith("one step") else 1
            taken = statistics.median(seconds(call) for _ in range(times))
            if number:
                samples[name].append(taken)
    steps, tokens, dim = trajectory.shape
    result = Result(
        "Reading",
        f"A recorded run of {steps:,} x {tokens} x {dim} in bfloat16 (the trained one of the next table, "
        "repeated), stored as float32 in Zarr, page cache warm. The copy in memory is of the float32 array.",
        ("", "median", "fastest", "slowest"),
        [(n, duration(statistics.median(s)), duration(min(s)), duration(max(s))) for n, s in samples.items()],
        samples=samples,
    )
    whole, token, step = (
        samples["whole, every safetensors file"],
        samples["one token, every safetensors file"],
        samples["one step, its safetensors file"],
    )
    result.ratios = [
        Ratio(
            "whole: all files over zarr", ratios(whole, samples["whole, zarr.open(...)[:]"]), ">= 8", ">= 12"
        ),
        Ratio(
            "whole: zarr over np.copy",
            ratios(samples["whole, zarr.open(...)[:]"], samples["whole, np.copy in memory"]),
            "",
            "<= 3",
        ),
        Ratio("one token: all files over zarr", ratios(token, samples["one token, zarr"]), ">= 50", ">= 150"),
        Ratio("one step: open_run over its file", ratios(samples["one step, open_run"], step), "<= 3"),
        Ratio("one step: zarr over its file", ratios(samples["one step, zarr"], step), "<= 3"),
    ]
    return result
