"""Reading a recorded run back, beside other readers, and what else could hold it: HDF5, one file."""

import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import tensorstore
import torch
import zarr
from safetensors.torch import load_file

from benchmarks.result import Ratio, Result, duration, ratios
from embevo import Recorder, open_run

TOKEN: Final = 101
_ZARRS: Final = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
# What is over in a moment is read often.
_TIMES: Final = {"whole": 1, "one token": 3, "one step": 20}
Calls = dict[str, Callable[[], Any]]


def seconds(call: Callable[[], Any]) -> float:
    """One call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _opened(group: str) -> Any:
    return zarr.open_group(group, mode="r")["embeddings"]


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


def _calls(path: Path, directory: Path) -> tuple[Calls, list[str]]:
    """What is read, by name, and what cannot be for want of a library."""
    files = sorted((path / "snapshots").glob("*.safetensors"))
    group = str(path / "trajectory.zarr")
    run = open_run(path)["embeddings"]
    array = _opened(group)
    values = np.asarray(array[:])
    warm, middle = np.empty_like(values), len(files) // 2
    store = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{group}/embeddings"}}
    ).result()
    raw = directory / "reading.raw"
    values.tofile(raw)
    memory = np.memmap(raw, values.dtype, "r", shape=values.shape)
    held = h5py.File(directory / "reading.h5", "w")
    plain = held.create_dataset("plain", data=values)
    chunks = (min(1000, len(values)), 8, values.shape[2])
    chunked = held.create_dataset("chunked", data=values, chunks=chunks, compression="lzf", shuffle=True)
    calls: Calls = {
        "whole, open_run": lambda: open_run(path)["embeddings"][:],
        "whole, open_run, native bfloat16": lambda: open_run(path)["embeddings"].native[:],
        "whole, open_run, native torch.Tensor": lambda: open_run(path)["embeddings"].torch("native"),
        "whole, open_run, into memory that is there": lambda: open_run(path)["embeddings"].read_into(warm),
        "whole, zarr.open(...)[:]": lambda: _opened(group)[:],
        "whole, tensorstore": lambda: store.read().result(),
        "whole, h5py, contiguous": lambda: plain[:],
        "whole, h5py, chunked along time, lzf": lambda: chunked[:],
        "whole, np.memmap of one raw file": lambda: np.array(memory),
        "whole, every safetensors file": lambda: torch.stack([load_file(f)["embeddings"] for f in files]),
        "whole, np.copy in memory": values.copy,
        "one token, open_run": lambda: run[:, TOKEN],
        "one token, zarr": lambda: array[:, TOKEN],
        "one token, tensorstore": lambda: store[:, TOKEN].read().result(),
        "one token, h5py, contiguous": lambda: plain[:, TOKEN],
        "one token, h5py, chunked along time, lzf": lambda: chunked[:, TOKEN],
        "one token, np.memmap of one raw file": lambda: np.array(memory[:, TOKEN]),
        "one token, every safetensors file": lambda: torch.stack(
            [load_file(f)["embeddings"][TOKEN] for f in files]
        ),
        "one step, open_run": lambda: run[middle],
        "one step, its safetensors file": lambda: load_file(files[middle]),
        "one step, zarr": lambda: array[middle],
        "one step, tensorstore": lambda: store[middle].read().result(),
        "one step, h5py, contiguous": lambda: plain[middle],
        "one step, h5py, chunked along time, lzf": lambda: chunked[middle],
        "one step, np.memmap of one raw file": lambda: np.array(memory[middle]),
    }
    if find_spec("zarrs") is None:
        return calls, ["zarr with the pipeline of zarrs: it is not installed"]
    with zarr.config.set(_ZARRS):
        other = _opened(group)
    calls |= {
        "whole, zarr with the pipeline of zarrs": lambda: other[:],
        "one token, zarr with the pipeline of zarrs": lambda: other[:, TOKEN],
        "one step, zarr with the pipeline of zarrs": lambda: other[middle],
    }
    return calls, []


def _ratios(samples: dict[str, list[float]]) -> Iterator[Ratio]:
    whole, files = samples["whole, zarr.open(...)[:]"], samples["whole, every safetensors file"]
    copied = samples["whole, np.copy in memory"]
    fast, native = samples["whole, open_run"], samples["whole, open_run, native bfloat16"]
    yield Ratio("whole: zarr over open_run, float32", ratios(whole, fast), ">= 1.5", ">= 2")
    yield Ratio("whole: zarr over open_run, native", ratios(whole, native), ">= 1.5", ">= 2")
    yield Ratio("whole: open_run over np.copy", ratios(fast, copied))
    yield Ratio("whole: zarr over np.copy", ratios(whole, copied), "<= 4", "<= 3")
    yield Ratio("whole: all files over zarr", ratios(files, whole))
    yield Ratio("whole: all files over open_run", ratios(files, fast), ">= 4")
    yield Ratio("whole: all files over open_run, native", ratios(files, native), ">= 4", ">= 6")
    token = samples["one token, every safetensors file"]
    yield Ratio("one token: all files over zarr", ratios(token, samples["one token, zarr"]))
    yield Ratio("one token: all files over open_run", ratios(token, samples["one token, open_run"]), ">= 25")
    one = ratios(samples["one token, open_run"], samples["one token, zarr"])
    yield Ratio("one token: open_run over zarr", one, "<= 1.1")
    step = samples["one step, its safetensors file"]
    yield Ratio("one step: open_run over its file", ratios(samples["one step, open_run"], step), "<= 3")
    yield Ratio("one step: zarr over its file", ratios(samples["one step, zarr"], step))


def measure(directory: Path, runs: dict[str, Path], *, quick: bool) -> Result:
    """The page cache is warm for all; every round reads everything once."""
    path = lengthened(runs["normal, bfloat16"], directory / "reading", 1001 if quick else 5001)
    calls, skipped = _calls(path, directory)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(4 if quick else 10):
        for name, call in calls.items():
            taken = statistics.median(seconds(call) for _ in range(_TIMES[name.partition(",")[0]]))
            if number:
                samples[name].append(taken)
    steps, tokens, dim = open_run(path).shape
    order = sorted(samples, key=lambda name: list(_TIMES).index(name.partition(",")[0]))
    return Result(
        "Reading",
        f"A recorded run of {steps:,} x {tokens} x {dim} in bfloat16 (the trained one of the next table, "
        "repeated), stored as float32 in Zarr, page cache warm. open_run compares checksums and is opened "
        "anew for each whole read. HDF5, the raw file and the copy in memory are of the float32 array.",
        ("", "median", "fastest", "slowest"),
        [
            (
                name,
                duration(statistics.median(samples[name])),
                duration(min(samples[name])),
                duration(max(samples[name])),
            )
            for name in order
        ],
        list(_ratios(samples)),
        samples,
        skipped,
    )
