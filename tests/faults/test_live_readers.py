"""Readers while a run is written: no torn row, no row of fill values, none out of order, never fewer."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.oracle import Plan
from faults.rig import FULL, Rig, count, quick_or_full

KINDS = ["refresh", "reopen", "zarr", "xarray"]


def start_reader(path: str, kind: str, plan: Plan) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    reader = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            str(here / "live_reader.py"),
            path,
            kind,
            json.dumps(dataclasses.asdict(plan)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here.parent)},
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "started\n"
    return reader


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("block_steps", [8, 64] if FULL else [8])
def test_readers_of_a_run_that_is_written(rig: Rig, block_steps: int) -> None:
    steps = quick_or_full(600, 30_000)
    flushes = tuple(range(block_steps // 2 + 1, steps, 7 * block_steps + 3))
    plan = Plan(seed=3, steps=steps, block_steps=block_steps, pace=0.002, flush_at=flushes, every=3)
    path = rig.path()
    readers = [start_reader(path, kind, plan) for kind in KINDS]
    written = rig.ask(plan, path=path, remove=False, patience=1500)
    if written["captured"] != steps:
        # They wait for a run that is complete.
        for reader in readers:
            reader.kill()
    outcomes = [reader.communicate(timeout=300) for reader in readers]
    assert written["captured"] == steps, written
    for kind, reader, (output, errors) in zip(KINDS, readers, outcomes, strict=True):
        assert reader.returncode == 0, f"{kind}: {errors}"
        for what, number in json.loads(output).items():
            assert number > 0
            count(f"live readers: {what}", number)
            if what == "reads of rows of the tail" and kind == "refresh":
                assert number > 100
