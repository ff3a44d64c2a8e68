"""All benchmarks, side by side with what a user would pick instead.

    python -m benchmarks [--quick] [--only capture,reading] [--steps 1000] [--json FILE]

Run it on an idle machine: it says so where others were at work when it began.
"""

import argparse
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

# Before torch starts threads: idle ones must not spin on cores that others need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console
from rich.table import Table

from benchmarks import (
    capture,
    costs,
    cuda,
    four_tensors,
    frames,
    growth,
    machine,
    overhead,
    pages,
    plan,
    reading,
    size,
    sources,
    training,
    viewer,
    viewer_long,
)
from benchmarks.result import Result, duration
from benchmarks.trained import trained_runs

# Those that take minutes each, and are run when they are named.
LONG = ("four-tensors", "costs", "viewer", "viewer-long")
PARTS = tuple(part for part in pages.ORDER if part not in LONG)
_TRAINED = ("reading", "size", "codecs")


def show(console: Console, result: Result, seconds: float, *, quick: bool) -> None:
    """One part, as a table and its ratios; what they have to reach is not judged by a quick run."""
    console.print(f"\n[bold]{result.title}[/bold]\n{result.about}", highlight=False)
    table = Table(*result.columns, box=None, pad_edge=False)
    for row in result.rows:
        table.add_row(*row)
    console.print(table)
    for ratio in result.ratios:
        reached = {True: "reached", False: "NOT REACHED", None: ""}
        bounds = "".join(
            f"  {kind} {bound} {reached[ratio.reaches(bound)]}"
            for kind, bound in (("must", ratio.must), ("aim", ratio.aim))
            if bound and not quick
        )
        rounds = f"({min(ratio.rounds):.3g} to {max(ratio.rounds):.3g})"
        console.print(f"  {ratio.what}: {ratio.median:.3g} {rounds}{bounds}", highlight=False)
    for what in result.skipped:
        console.print(f"  skipped: {what}", highlight=False)
    console.print(f"  {seconds:.0f} seconds", highlight=False)


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds: under a minute")
    parser.add_argument("--only", help=f"parts, with commas between: {','.join(pages.ORDER)}")
    parser.add_argument("--steps", type=int, help="of the runs that are trained to be read and compressed")
    parser.add_argument(
        "--runs",
        type=Path,
        help="keep those runs, and that of viewer-long, here, and use the ones that are here already",
    )
    parser.add_argument(
        "--out", type=Path, help="directory on the disk to measure; by default the temporary one"
    )
    parser.add_argument("--json", type=Path, help="write every sample, the machine and the versions here")
    options = parser.parse_args()
    parts = options.only.split(",") if options.only else PARTS
    if unknown := set(parts) - set(pages.ORDER):
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(pages.ORDER)}")
    # Found out now, and not when everything has been measured.
    for option, folder in (("--out", options.out), ("--json", options.json and options.json.parent)):
        if folder is not None and not (folder.is_dir() and os.access(folder, os.W_OK)):
            parser.error(
                f"{option}: {folder} is no directory that can be written to: make it, or name another"
            )
    logging.getLogger("transformers").setLevel(logging.ERROR)
    # From a thread of torch.distributed.checkpoint, at every step.
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    console = Console()
    # Nothing small is deleted before the end: for minutes after many files were deleted, ext4 takes thirty
    # times as long to create one.
    with tempfile.TemporaryDirectory(prefix="embevo-bench-", dir=options.out) as folder:
        directory = Path(folder)
        described = machine.describe(directory)
        cores = f"{described['cores']} cores of {described['processor']}"
        load = f"load {described['load_at_start']:.2f} at the start"
        creation = f"{duration(described['file_creation_seconds'])} to create a file"
        console.print(f"{cores}, {load}, {creation}", highlight=False)
        began = time.perf_counter()
        quick = options.quick
        results: dict[str, Result] = {}
        alone: dict[str, Callable[[], Result]] = {
            "capture": lambda: capture.measure(directory, quick=quick),
            "overhead": lambda: overhead.measure(directory, quick=quick),
            "frames": lambda: frames.measure(directory, quick=quick),
            "sources": lambda: sources.measure(directory, quick=quick),
            "four-tensors": lambda: four_tensors.measure(directory, quick=quick),
            "costs": lambda: costs.measure(directory, quick=quick),
            "plan": lambda: plan.measure(directory),
            "cuda": lambda: cuda.measure(directory, quick=quick),
            "training": lambda: training.measure(quick=quick),
            "growth": lambda: growth.measure(directory, quick=quick),
            "viewer": lambda: viewer.measure(directory, quick=quick),
            "viewer-long": lambda: viewer_long.measure(options.runs or directory, quick=quick),
        }
        for part in (name for name in parts if name in alone):
            began_part = time.perf_counter()
            results[part] = alone[part]()
            show(console, results[part], time.perf_counter() - began_part, quick=quick)
        if set(parts) & set(_TRAINED):
            steps = options.steps or (50 if quick else 1000)
            began_part = time.perf_counter()
            runs = trained_runs(steps, options.runs or directory / "trained")
            taken = time.perf_counter() - began_part
            console.print(f"\n{taken:.0f} seconds for the runs that are read and compressed", highlight=False)
            read: dict[str, Callable[[], Result]] = {
                "reading": lambda: reading.measure(directory, runs, quick=quick),
                "size": lambda: size.measure(runs),
                "codecs": lambda: size.measure_codecs(runs),
            }
            for part in (name for name in parts if name in read):
                began_part = time.perf_counter()
                results[part] = read[part]()
                show(console, results[part], time.perf_counter() - began_part, quick=quick)
    seconds = time.perf_counter() - began
    console.print(f"\n{seconds:.0f} seconds")
    if options.json is not None:
        found = {"machine": described, "seconds": seconds, "quick": quick}
        found["parts"] = {name: results[name].to_json() for name in pages.ORDER if name in results}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
