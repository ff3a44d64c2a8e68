"""How long measuring a run takes, as a ratio to reading the same data, and in how much memory.

Each round reads a run through embevo's reader, block by block, and then measures it; the page cache is warm
for both. Beside it: what each measure costs by itself, on one thread, as a ratio to reading; the distinct
rows of one large matrix, and the peak memory of measuring a long run of a larger vocabulary in a process of
its own. Run it on an idle machine:

    python benchmarks/analysis.py [--steps 5001] [--rounds 5] [--long 1/20] [--json FILE]

--long 1 is the full 6,001 x 10,000 x 64: 7.2 GiB on disk, and some minutes.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from embevo.analysis import analyze
from embevo.analysis.measurement import outline_of
from embevo.analysis.measures.block import Block
from embevo.analysis.measures.identity import representatives
from embevo.analysis.measures.measure import Whole
from embevo.analysis.measures.registry import chosen, measures_of
from embevo.analysis.measures.snapshots import Snapshots
from embevo.analysis.reading import part_rows, values_of
from embevo.analysis.stretches import measure
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.writing.local_sink import create_run
from embevo.run.writing.sealing import Sealer

# What a process that measures nothing takes is told apart from what measuring takes.
_CHILD = """
import sys, time
from benchmarks.machine import peak_memory
from embevo.analysis import analyze
from embevo.run.reading.reader import open_run
opened = open_run(sys.argv[1])
before = peak_memory()
start = time.perf_counter()
analyze(opened)
print(before, peak_memory(), time.perf_counter() - start)
"""


def record(path: Path, steps: int, tokens: int, dim: int) -> Path:
    """A bfloat16 run of tokens that diffuse ever more slowly, the first third of them as one."""
    rng = np.random.default_rng(0)
    frame = FrameSpec.of({"embeddings": ("bfloat16", (tokens, dim))}, ("loss", "learning_rate"))
    counts = np.arange(tokens)
    counts[: tokens // 3] = 0
    block = max(1, min(512, (16 << 20) // (4 * tokens * dim)))
    layout = Layout.new(
        frame, block_steps=block, store="zarr", zarr_dtype="float32", has_token_count=True, attributes={}
    )
    paths = RunPaths(path)
    path.mkdir(parents=True)
    journal = Journal.create(paths.journal, frame, 2 * block)
    sealer = Sealer(paths, layout, create_run(paths, layout, counts, sync=False), rows=0, sync=False)
    values = np.broadcast_to(rng.normal(size=dim), (tokens, dim)).astype(np.float32)
    for row in range(steps):
        if row:
            moved = rng.standard_normal((tokens, dim), np.float32) * np.float32(0.01 * (1 - row / steps))
            moved[: tokens // 3] = moved[0]
            values = values + moved
        journal.begin(row)
        journal.payload(row, "embeddings")[:] = values.astype(ml_dtypes.bfloat16).tobytes()
        journal.commit(row, row, (3.0, 1e-3), seal=True)
        if (row + 1) % block == 0 or row + 1 == steps:
            sealer.seal(journal, row + 1)
    journal.close()
    paths.journal.unlink()
    return path


def read(path: Path) -> float:
    """Seconds to read all blocks."""
    run = open_run(path)
    start = time.perf_counter()
    for first in range(0, run.shape[0], run.layout.block_steps):
        run["embeddings"][first : first + run.layout.block_steps]
    return time.perf_counter() - start


def compare(path: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one number a round; a first round is thrown away."""
    samples: dict[str, list[float]] = {"read": [], "one thread": [], "measure": [], "analyze": []}
    for kept in range(rounds + 1):
        reading = read(path)
        start = time.perf_counter()
        measure(open_run(path), "embeddings", jobs=1)
        alone = time.perf_counter() - start
        start = time.perf_counter()
        measure(open_run(path), "embeddings")
        measuring = time.perf_counter() - start
        start = time.perf_counter()
        analyze(path, {"msd_min_lag": 10 + kept / 1024})
        analysing = time.perf_counter() - start
        if kept:
            samples["read"].append(reading)
            samples["one thread"].append(alone)
            samples["measure"].append(measuring)
            samples["analyze"].append(analysing)
    return samples


def costs(path: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds that each measure takes, by name, one number a round, and those of reading; on one thread.

    What several measures need is worked out once, by the first that asks for it, and counted there.
    """
    samples: dict[str, list[float]] = {}
    for kept in range(rounds + 1):
        spent = {"read": read(path)}
        run = open_run(path)
        outline = outline_of(run, "embeddings", measures=chosen("all"))
        measures = [kind(outline) for kind in measures_of(outline)]
        snapshots, before, parts = Snapshots(outline), None, part_rows(run, "embeddings")
        head: NDArray[Any] = values_of(run, "embeddings", slice(0, 1))[0]
        for first in range(0, outline.rows, run.layout.block_steps):
            values = values_of(run, "embeddings", slice(first, first + run.layout.block_steps))
            for begin in range(0, len(values), parts):
                block = Block(outline, first + begin, values[begin : begin + parts], before)
                for of in measures:
                    start = time.perf_counter()
                    of.take(block)
                    spent[of.called()] = spent.get(of.called(), 0.0) + time.perf_counter() - start
                snapshots.take(block)
                before = block.last
        whole = Whole(head, values[-1], snapshots.finish())
        for of in measures:
            start = time.perf_counter()
            whole.arrays.update(of.finish(whole))
            spent[of.called()] = spent.get(of.called(), 0.0) + time.perf_counter() - start
        if kept:
            for name, seconds in spent.items():
                samples.setdefault(name, []).append(seconds)
    return samples


def print_costs(shape: str, samples: dict[str, list[float]]) -> None:
    """A line for each measure, the costliest first."""
    print(f"{shape}: each measure, one thread")
    for name, seconds in sorted(samples.items(), key=lambda item: -statistics.median(item[1])):
        ratios = [one / other for one, other in zip(seconds, samples["read"], strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {name:20} {statistics.median(seconds):7.3f} s", end="")
        print(f", {statistics.median(ratios):5.2f} times reading {spread}")


def distinct(tokens: int, dim: int) -> float:
    """Seconds to find the distinct rows of one matrix, a third of whose rows are the same."""
    values = np.random.default_rng(0).standard_normal((1, tokens, dim), np.float32)
    values[0, : tokens // 3] = values[0, 0]
    start = time.perf_counter()
    found = representatives(values)
    seconds = time.perf_counter() - start
    if len(np.unique(found)) != tokens - tokens // 3 + 1:
        raise AssertionError("the count of distinct rows is wrong")
    return seconds


def memory(path: Path) -> tuple[float, float, float]:
    """GiB before, GiB at the peak, and seconds, of a process that analyses a run."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True
    )
    before, peak, seconds = map(float, done.stdout.split())
    return before / (1 << 30), peak / (1 << 30), seconds


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5001, help="of a run of 128 x 64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", type=Fraction, default=Fraction(1, 20), help="share of 6,001 x 10,000 x 64")
    parser.add_argument(
        "--tokens", type=int, default=151_936, help="rows of the large matrix of 2,560 columns"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": platform.platform(), "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as folder:
        path = record(Path(folder) / "run", options.steps, 128, 64)
        result["samples"] = samples = compare(path, options.rounds)
        print(f"{options.steps:,} x 128 x 64 bfloat16, {options.rounds} rounds, seconds")
        for name, seconds in samples.items():
            ratios = [one / other for one, other in zip(seconds, samples["read"], strict=True)]
            print(
                f"  {name:10} median {statistics.median(seconds):6.2f} "
                f"({min(seconds):.2f} to {max(seconds):.2f}), "
                f"{statistics.median(ratios):5.1f} times reading ({min(ratios):.1f} to {max(ratios):.1f})"
            )
        result["costs"] = costs(path, options.rounds)
        print_costs(f"{options.steps:,} x 128 x 64", result["costs"])
        wide = record(Path(folder) / "wide", max(2, options.steps // 50), 10_000, 64)
        result["costs of many tokens"] = costs(wide, 1)
        print_costs(f"{max(2, options.steps // 50):,} x 10,000 x 64", result["costs of many tokens"])
        # The growth with steps: the same run, half as long.
        half = record(Path(folder) / "half", options.steps // 2, 128, 64)
        shorter = statistics.median(compare(half, options.rounds)["measure"])
        result["half"] = shorter
        print(f"  half the steps: measure {shorter / statistics.median(samples['measure']):.2f} of the time")
        tokens = int(10_000 * min(1, options.long * 4))
        steps = int(6_001 * options.long * 10_000 / tokens)
        before, peak, taken = memory(record(Path(folder) / "long", steps, tokens, 64))
        result["long"] = {"shape": [steps, tokens, 64], "before": before, "peak": peak, "seconds": taken}
        data = steps * tokens * 64 * 4 / (1 << 30)
        print(f"{steps:,} x {tokens:,} x 64: {taken:.1f} s, peak {peak:.2f} GiB ({before:.2f} before), "
              f"for {data:.2f} GiB of float32")  # fmt: skip
    result["distinct"] = [distinct(options.tokens, 2_560) for _ in range(3)]
    print(f"distinct rows of {options.tokens:,} x 2,560: {statistics.median(result['distinct']):.1f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
