"""Readers while a run is written: no torn row, no row of fill values, none out of order, never fewer."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from support.faults.oracle import Plan
from support.faults.rig import Rig, count, quick_or_full

KINDS = ["refresh", "reopen", "zarr", "xarray"]


def start_reader(path: str, kind: str, plan: Plan) -> subprocess.Popen[str]:
    tests = Path(__file__).parents[1]
    reader = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            str(tests / "support/faults/live_reader.py"),
            path,
            kind,
            json.dumps(dataclasses.asdict(plan)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])},
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "started\n"
    return reader


@pytest.mark.timeout(1800)
def test_readers_of_a_run_that_is_written(rig: Rig) -> None:
    """Run after run, of arrays in short blocks and of a matrix in long ones, until enough was read."""
    enough = {"opens": quick_or_full(0, 10_000), "reads of rows of the tail": quick_or_full(200, 100_000)}
    seen: Counter[str] = Counter()
    for number in itertools.count():
        drawn, block_steps = (number, 8) if number % 2 == 0 else (-1, 64)
        seen += read_while_written(rig, block_steps, quick_or_full(600, 6_000), drawn)
        if all(seen[what] >= number for what, number in enough.items()):
            break


def read_while_written(rig: Rig, block_steps: int, steps: int, drawn: int) -> Counter[str]:
    """One run, and how often it was opened and its tail was read."""
    flushes = tuple(range(block_steps // 2 + 1, steps, 7 * block_steps + 3))
    plan = Plan(
        seed=3,
        drawn=drawn,
        steps=steps,
        block_steps=block_steps,
        pace=0.002,
        flush_at=flushes,
        every=3,
        scheduled="every" if drawn >= 0 else "",
    )
    path = rig.path()
    readers = [start_reader(path, kind, plan) for kind in KINDS]
    written = rig.ask(plan, path=path, remove=False, patience=1500)
    if written["captured"] != steps:
        # They wait for a run that is complete.
        for reader in readers:
            reader.kill()
    outcomes = [reader.communicate(timeout=300) for reader in readers]
    assert written["captured"] == steps, written
    seen: Counter[str] = Counter()
    for kind, reader, (output, errors) in zip(KINDS, readers, outcomes, strict=True):
        assert reader.returncode == 0, f"{kind}: {errors}"
        for what, number in json.loads(output).items():
            assert number > 0
            count(f"live readers: {what}", number)
            seen["opens" if what.startswith("opens") else what] += number
    return seen
