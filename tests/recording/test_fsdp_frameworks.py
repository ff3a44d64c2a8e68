"""What accelerate and the Trainer divide among processes is recorded as what a plain loop divides."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from embevo import open_run
from embevo.run.repair.verification import verify
from support.interpreters import interpreter

SCRIPT = Path(__file__).parents[1] / "support" / "fsdp_frameworks.py"


@pytest.mark.parametrize("how", ["accelerate", "trainer"])
def test_every_process_records_its_piece(tmp_path: Path, how: str) -> None:
    command = [interpreter(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(tmp_path), how],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON_EXEC": interpreter()},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    run, seen = open_run(tmp_path / "run"), np.load(tmp_path / "seen.npz")
    assert run.steps.tolist() == list(range(6))
    assert len(list((tmp_path / "run" / "ranks").iterdir())) == 2
    assert set(seen) == ({"embeddings"} if how == "trainer" else set(run.frame.by_name))
    for name in seen:
        assert np.asarray(run[name][1:], np.float32).tobytes() == seen[name].tobytes(), name
    for name in ("embeddings.grad", "embeddings.exp_avg"):
        assert np.isnan(np.asarray(run[name][0], np.float32)).all()
        assert np.isfinite(np.asarray(run[name][1:], np.float32)).all()
    assert verify(tmp_path / "run", deep=True).problems == []


FLATTENED = """
import sys, torch, embevo
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
torch.distributed.init_process_group("gloo")
model = nn.Sequential(nn.Embedding(101, 16), nn.Linear(16, 101))
model = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
optimizer = torch.optim.AdamW(model.parameters())
try:
    embevo.record(model, optimizer, sys.argv[1], parameter="0.weight")
except embevo.errors.FrameMismatchError as error:
    print(f"refused {torch.distributed.get_rank()}: {error}", flush=True)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_what_the_first_version_of_fsdp_has_flattened_is_no_matrix(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(FLATTENED)
    command = [interpreter(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(tmp_path / "script.py"), str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON_EXEC": interpreter()},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert f"refused {rank}: embeddings is a piece of what FullyShardedDataParallel" in done.stdout
    assert not (tmp_path / "run").exists()
