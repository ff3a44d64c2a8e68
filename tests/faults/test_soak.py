"""However long a run is: flat memory, flat cost, and a number of files that follows from the blocks."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from embevo.run.reading.reader import open_run
from support.faults.rig import count, quick_or_full

BLOCK = 128
MIB = 1 << 20


def soak(path: Path, steps: int, policy: str) -> dict[str, Any]:
    script = Path(__file__).parents[1] / "support/faults/soak.py"
    command = [sys.executable, str(script), str(path), str(steps), policy]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(1800)
def test_memory_cost_and_files_do_not_grow_with_the_run(tmp_path: Path) -> None:
    steps = quick_or_full(8_000, 200_000)
    found = soak(tmp_path / "run", steps, "fast")
    samples = found["samples"]
    assert found["captured"] == steps
    # The first quarter fills the ring, the allocators' pools and the times kept for percentiles.
    settled = samples[len(samples) // 4 :]
    growth = max(sample["resident_bytes"] for sample in settled) - settled[0]["resident_bytes"]
    assert growth < 4 * MIB, f"{growth / MIB:.1f} MiB more than after a quarter of the run"
    costs = [sample["cpu_seconds"] for sample in settled]
    early, late = statistics.median(costs[:5]), statistics.median(costs[-5:])
    assert late < 2 * early, f"a step costs {late / early:.1f} times what it did"
    blocks = -(-steps // BLOCK)
    # Four arrays of a file a block; the metadata of five and of the group; the token ids; the manifest.
    assert sum(1 for file in (tmp_path / "run").rglob("*") if file.is_file()) <= 4 * blocks + 9
    run = open_run(tmp_path / "run")
    assert np.array_equal(run.steps, np.arange(steps))
    group = zarr.open_group(tmp_path / "run" / "trajectory.zarr", mode="r")
    assert np.array_equal(np.asarray(group["embeddings"][:, 3, 1]), np.arange(steps, dtype=np.float32))
    count("steps of the soak", steps)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("policy", ["block", "drop"])
def test_a_slow_disk_leads_to_the_chosen_policy_and_not_to_growth(tmp_path: Path, policy: str) -> None:
    steps = quick_or_full(3_000, 20_000)
    found = soak(tmp_path / "run", steps, policy)
    samples = found["samples"]
    growth = max(sample["resident_bytes"] for sample in samples[5:]) - samples[4]["resident_bytes"]
    assert growth < 4 * MIB, f"{growth / MIB:.1f} MiB more than after a quarter of the run"
    steps_found = open_run(tmp_path / "run").steps
    assert len(steps_found) == found["captured"]
    if policy == "block":
        assert found["waits"] > 0
        assert np.array_equal(steps_found, np.arange(steps))
    else:
        assert found["dropped"] > 0
        assert found["captured"] + found["dropped"] == steps
