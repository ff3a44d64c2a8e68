"""The full form of every test that injects faults, two parts at a time, and what they counted.

    python tests/faults/full.py [PART ...]

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
from collections.abc import Iterable
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
    "calls failing with EIO": ["test_calls.py", "-k", "EIO"],
    "calls failing with ENOSPC": ["test_calls.py", "-k", "ENOSPC"],
    "kills at calls": ["test_calls.py", "-k", "not EIO and not ENOSPC"],
    "several processes, beginning": ["test_ranks_calls.py", "-k", "killed and rows and creation"],
    "several processes, recording": ["test_ranks_calls.py", "-k", "killed and rows and not creation"],
    "several processes, otherwise": ["test_ranks_calls.py", "-k", "killed and not rows"],
    "several processes, calls failing": ["test_ranks_calls.py", "-k", "not killed"],
    "compaction": ["test_compacting_calls.py"],
    "file process, its parent": ["test_file_process.py", "-k", "parent"],
    "file process, itself": ["test_file_process.py", "-k", "not parent"],
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


def entry(part: dict[str, Any]) -> dict[str, Any]:
    """What docs/faults.json holds of a part."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "where": f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, zarr {version('zarr')}, torch {version('torch')}",
        "seconds": part["seconds"],
        "skipped": sorted({node.split("::")[0] for node in part["skipped"]}),
        "counts": dict(sorted(part["counts"].items())),
    }


def counts(parts: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Of all parts together."""
    return dict(sorted(sum((Counter(part["counts"]) for part in parts), Counter[str]()).items()))


def table(parts: dict[str, dict[str, Any]]) -> str:
    """The counts as Markdown."""
    missing = [name for name in PARTS if name not in parts]
    made = (
        f"Last run of the full form: {' and '.join(sorted({part['date'] for part in parts.values()}))}, "
        f"{' and '.join(sorted({part['where'] for part in parts.values()}))}; its parts, two at a time, "
        f"took {sum(part['seconds'] for part in parts.values()) / 60:.0f} minutes together. "
        f"Parts that were not run: {', '.join(missing) or 'none'}. Skipped: "
        f"{', '.join(sorted({test for part in parts.values() for test in part['skipped']})) or 'nothing'}."
    )
    rows = [f"| {number:,} | {what} |" for what, number in counts(parts.values()).items()]
    return "\n".join([made, "", "| how many | what |", "|---:|---|", *rows])


def write(found: dict[str, dict[str, Any]]) -> None:
    """Put the counts into the documentation."""
    (DOCS / "faults.json").write_text(json.dumps(found, indent=1) + "\n")
    page = DOCS / "guarantees.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Run all parts, or those that are named; exits with 1 if a promise was broken."""
    names = sys.argv[1:] or list(PARTS)
    if unknown := set(names) - set(PARTS):
        sys.exit(f"No part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda name: run(name, Path(directory)), names))
    for what, number in counts(parts).items():
        print(f"{number:>9,} {what}")
    print(f"{(time.monotonic() - begun) / 60:.0f} minutes")
    if failed := [part["part"] for part in parts if part["exit"]]:
        sys.exit(f"Failed: {', '.join(failed)}. The counts were not written down.")
    # Parts that were not run keep what their last run counted.
    before = json.loads((DOCS / "faults.json").read_text())
    ran = {part["part"]: entry(part) for part in parts}
    write({name: ran.get(name, before.get(name)) for name in PARTS if name in ran or name in before})


if __name__ == "__main__":
    main()
