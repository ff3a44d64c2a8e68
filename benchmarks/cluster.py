"""How much faster two workers of a Dask cluster measure a run than one, and what memory each takes.

Clusters of one worker and of two, on processes of this machine, measure the same run in turns; the page cache
is warm, and both have measured a short run before. Run it on an idle machine of at least two cores:

    python benchmarks/cluster.py [--share 1/6] [--rounds 3] [--folder DIRECTORY] [--json FILE]

--share 1 is the full 6,001 x 10,000 x 64: 7.2 GiB on disk, and some minutes.
"""

import argparse
import json
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.analysis import record
from benchmarks.machine import describe, peak_memory
from embevo.analysis.distributed import cluster, measure_on
from embevo.analysis.measurement import Measurement
from embevo.run.reading.reader import open_run

if TYPE_CHECKING:
    from distributed import Client

_TOKENS, _DIM = 10_000, 64


def timed(client: "Client", path: Path) -> tuple[float, Measurement]:
    """Seconds of measuring a run on a cluster, and what was found."""
    start = time.perf_counter()
    found = measure_on(client, open_run(path), "embeddings")
    return time.perf_counter() - start, found


def compare(path: Path, short: Path, rounds: int) -> dict[str, Any]:
    """Seconds on one worker and on two, a number a round, and the peak memory of the workers in bytes."""
    seconds: dict[str, list[float]] = {"one": [], "two": []}
    with cluster("local", 1) as one, cluster("local", 2) as two:
        before = {}
        for name, client in (("one", one), ("two", two)):
            timed(client, short)
            before[name] = max(client.run(peak_memory).values())
        for place in range(rounds):
            # Who comes first has the slower disk, if any of it is to be read.
            order = (("one", one), ("two", two)) if place % 2 else (("two", two), ("one", one))
            found = {}
            for name, client in order:
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
    one, two = result["seconds"]["one"], result["seconds"]["two"]
    ratios = [alone / both for alone, both in zip(one, two, strict=True)]
    print(f"{steps:,} x {_TOKENS:,} x {_DIM} bfloat16, {options.rounds} rounds")
    for name, seconds in result["seconds"].items():
        peak, before = (result[what][name] / (1 << 30) for what in ("peak", "before"))
        print(
            f"  {name} worker{'s' * (name == 'two')}: median {statistics.median(seconds):.1f} s "
            f"({min(seconds):.1f} to {max(seconds):.1f}), peak {peak:.2f} GiB a worker ({before:.2f} before)"
        )
    print(f"  two are {statistics.median(ratios):.2f} times one ({min(ratios):.2f} to {max(ratios):.2f})")
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": result_machine, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
