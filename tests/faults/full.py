"""The full form of every test that injects faults, two parts at a time, and what they counted.

The counts are shown, and written to docs/faults.json and docs/guarantees.md if every promise was kept.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
# The longest first, so that none is left alone at the end.
PARTS = {
    "kills": ["test_kill.py"],
    "failing calls": ["test_calls.py", "-k", "error"],
    "kills at calls": ["test_calls.py", "-k", "not error"],
    "flips, killed": ["test_flips.py", "-k", "in-killed"],
    "flips, closed": ["test_flips.py", "-k", "not in-killed"],
    "readers": ["test_live_readers.py"],
    "power": ["test_power.py", "test_sync_order.py"],
    "full disk": ["test_disk_full.py"],
    "foreign files": ["test_forged.py", "test_hostile.py"],
    "soak": ["test_soak.py"],
}


def run(name: str, directory: Path) -> dict[str, Any]:
    """Run one part; its output is shown when it is done."""
    counts = directory / f"{name}.json"
    environment = {
        **os.environ,
        "EMBEVO_FAULTS": "full",
        "EMBEVO_FAULTS_COUNTS": str(counts),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--durations=3",
        "-o",
        "faulthandler_timeout=0",
    ]
    arguments = [str(HERE / part) if part.endswith(".py") else part for part in PARTS[name]]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    seconds = round(time.monotonic() - begun)
    print(f"--- {name}: {seconds} s\n{done.stdout}{done.stderr}", flush=True)
    found = json.loads(counts.read_text()) if counts.exists() else {"counts": {}, "skipped": []}
    return {**found, "part": name, "exit": done.returncode, "seconds": seconds}


def summary(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What docs/faults.json holds."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "minutes": round(sum(part["seconds"] for part in parts) / 60),
        "where": f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, zarr {version('zarr')}, torch {version('torch')}",
        "not finished": sorted(part["part"] for part in parts if part["exit"]),
        "skipped": sorted({node.split("::")[0] for part in parts for node in part["skipped"]}),
        "counts": dict(sorted(sum((Counter(part["counts"]) for part in parts), Counter[str]()).items())),
    }


def table(found: dict[str, Any]) -> str:
    """The counts as Markdown."""
    made = (
        f"Last run of the full form: {found['date']}, {found['where']}; its parts took {found['minutes']} "
        f"minutes together. Parts without counts: {', '.join(found['not finished']) or 'none'}. "
        f"Skipped: {', '.join(found['skipped']) or 'nothing'}."
    )
    rows = [f"| {number:,} | {what} |" for what, number in found["counts"].items()]
    return "\n".join([made, "", "| how many | what |", "|---:|---|", *rows])


def write(found: dict[str, Any]) -> None:
    """Put the counts into the documentation."""
    (DOCS / "faults.json").write_text(json.dumps(found, indent=1) + "\n")
    page = DOCS / "guarantees.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Run all parts; exits with 1 if a promise was broken."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda name: run(name, Path(directory)), PARTS))
    found = summary(parts)
    for what, number in found["counts"].items():
        print(f"{number:>9,} {what}")
    print(f"{(time.monotonic() - begun) / 60:.0f} minutes")
    if found["not finished"]:
        sys.exit(f"Failed: {', '.join(found['not finished'])}. The counts were not written down.")
    write(found)


if __name__ == "__main__":
    main()
