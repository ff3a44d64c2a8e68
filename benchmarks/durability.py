"""What each durability costs a step: captures as fast as they go, until everything is sealed, side by side.

In every round each mode records the same steps, one mode after the other. Run it on an idle machine, with
--out on the disk that is meant:

    python benchmarks/durability.py [--steps 2000] [--rounds 5] [--out DIR] [--json FILE]
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from embevo.recording.options import Durability
from embevo.recording.recorder import Recorder
from embevo.run.format.layout import Store


class Mode(NamedTuple):
    """How steps are recorded."""

    name: str
    durability: Durability
    sync_seconds: float
    sync_steps: int | None


MODES: Final = (
    Mode("process", "process", 1.0, None),
    Mode("power, journal synced every second", "power", 1.0, None),
    Mode("power, journal synced every step it can", "power", 1.0, 1),
)


def measure(directory: Path, mode: Mode, store: Store, steps: int) -> dict[str, float]:
    """Seconds a step, from the first capture to the end of close, and what a capture took at the median."""
    parameter = torch.zeros(128, 64)
    recorder = Recorder(
        directory / "run",
        {"embeddings": parameter},
        store=store,
        durability=mode.durability,
        sync_seconds=mode.sync_seconds,
        sync_steps=mode.sync_steps,
    )
    started = time.perf_counter()
    with recorder:
        for step in range(steps):
            parameter.add_(1.0)
            recorder.capture(step)
    seconds = time.perf_counter() - started
    return {"step": seconds / steps, "capture": recorder.stats.capture_ns_p50 / 1e9}


def main() -> None:
    """Measure, print a table, and write the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, help="directory on the disk to measure; by default the temporary one"
    )
    parser.add_argument("--json", type=Path, help="where the samples go")
    options = parser.parse_args()
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    stores: tuple[Store, ...] = ("zarr", "both")
    for number in range(options.rounds + 1):
        for store in stores:
            for mode in MODES:
                with tempfile.TemporaryDirectory(dir=options.out) as directory:
                    found = measure(Path(directory), mode, store, options.steps)
                # The first round warms up what the others share.
                if number:
                    samples.setdefault(store, {}).setdefault(mode.name, []).append(found)
    for stored, by_mode in samples.items():
        print(f"store {stored}, matrix (128, 64) float32, {options.steps} steps, {options.rounds} rounds")
        print(f"  {'mode':42}{'us a step':>10}{'min':>9}{'max':>9}{'ratio':>8}{'us a capture':>14}")
        for name, rounds in by_mode.items():
            print(f"  {name:42}{row(rounds, by_mode[MODES[0].name])}")
    if options.json:
        machine = {
            "python": platform.python_version(),
            "system": platform.platform(),
            "torch": torch.__version__,
        }
        found_all: dict[str, Any] = {"machine": machine, "steps": options.steps, "samples": samples}
        options.json.write_text(json.dumps(found_all, indent=1) + "\n")


def row(rounds: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    """Median, smallest and largest microseconds a step, the median ratio to the base, and of a capture."""
    steps = [1e6 * each["step"] for each in rounds]
    ratio = statistics.median(each["step"] / other["step"] for each, other in zip(rounds, base, strict=True))
    capture = 1e6 * statistics.median(each["capture"] for each in rounds)
    return f"{statistics.median(steps):10.0f}{min(steps):9.0f}{max(steps):9.0f}{ratio:8.2f}{capture:14.1f}"


if __name__ == "__main__":
    main()
