"""How much faster two workers of a Dask cluster measure a run than one, and what memory each takes.

Clusters of one worker and of two, on processes of this machine, measure the same run in turns; the page cache
is warm, and both have measured a short run before. What this process does for them, merging and comparing
with chance, takes a part of a core: one worker alone leaves it a core of a machine of two, and two workers do
not. So one worker is measured on one core together with this process, too, which is what each further worker
brings on a machine of its own. Run it on an idle machine of at least two cores:

    python benchmarks/cluster.py [--share 1/6] [--rounds 3] [--folder DIRECTORY] [--json FILE]

--share 1 is the full 6,001 x 10,000 x 64: 7.2 GiB on disk, and some minutes.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.analysis import record
from benchmarks.machine import describe, peak_memory
from embevo.analysis.distributed import cluster, measure_on
from embevo.analysis.measurement import Measurement
from embevo.run.reading.reader import open_run

if TYPE_CHECKING:
    from distributed import Client

_TOKENS, _DIM = 10_000, 64
ONE_CORE: Final = "one, on one core with this process"


def timed(client: "Client", path: Path) -> tuple[float, Measurement]:
    """Seconds of measuring a run on a cluster, and what was found."""
    start = time.perf_counter()
    found = measure_on(client, open_run(path), "embeddings")
    return time.perf_counter() - start, found


@contextmanager
def on_one_core(client: "Client", *, kept: bool) -> Iterator[None]:
    """Keep this process and the workers on one core, if that is asked for."""
    processes = [os.getpid(), *client.run(os.getpid).values()] if kept else []
    cores = os.sched_getaffinity(0)
    try:
        _pin(processes, {min(cores)})
        yield
    finally:
        _pin(processes, cores)


def _pin(processes: list[int], cores: set[int]) -> None:
    for process in processes:
        for thread in Path(f"/proc/{process}/task").iterdir():
            # One that has ended meanwhile needs no core.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


def compare(path: Path, short: Path, rounds: int) -> dict[str, Any]:
    """Seconds on one worker and on two, a number a round, and the peak memory of the workers, bytes."""
    seconds: dict[str, list[float]] = {"one": [], "two": [], ONE_CORE: []}
    with cluster("local", 1) as one, cluster("local", 2) as two:
        before = {}
        for name, client in (("one", one), ("two", two)):
            timed(client, short)
            before[name] = max(client.run(peak_memory).values())
        for place in range(rounds):
            # Who comes first has the slower disk, if any of it is to be read.
            order = (("one", one), ("two", two), (ONE_CORE, one))
            found = {}
            for name, client in order if place % 2 else order[::-1]:
                with on_one_core(client, kept=name == ONE_CORE):
                    taken, found[name] = timed(client, path)
                seconds[name].append(taken)
            for name, values in found["one"].arrays.items():
                np.testing.assert_array_equal(values, found["two"].arrays[name])
        peaks = {name: max(client.run(peak_memory).values()) for name, client in (("one", one), ("two", two))}
    return {"seconds": seconds, "before": before, "peak": peaks}


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=Fraction, default=Fraction(1, 6), help="of 6,001 x 10,000 x 64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the run here, and use the one that is here already")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    steps = int(6_000 * options.share) + 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if options.folder is None else options.folder
        path, short = folder / f"run-{steps}", folder / "short"
        for made, rows in ((path, steps), (short, 24)):
            if not made.exists():
                record(made, rows, _TOKENS, _DIM)
        result = compare(path, short, options.rounds) if options.rounds else None
        result_machine = describe(folder)
    if result is None:
        return
    print(f"{steps:,} x {_TOKENS:,} x {_DIM} bfloat16, {options.rounds} rounds")
    for name, seconds in result["seconds"].items():
        workers = "workers" if name == "two" else "worker"
        print(
            f"  {workers}: {name}: median {statistics.median(seconds):.1f} s "
            f"({min(seconds):.1f} to {max(seconds):.1f})"
        )
    for name in ("one", "two"):
        peak, before = (result[what][name] / (1 << 30) for what in ("peak", "before"))
        print(f"  peak of a worker of {name}: {peak:.2f} GiB ({before:.2f} after a short run)")
    two = result["seconds"]["two"]
    for name in ("one", ONE_CORE):
        ratios = [alone / both for alone, both in zip(result["seconds"][name], two, strict=True)]
        print(
            f"  two are {statistics.median(ratios):.2f} times {name} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": result_machine, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
