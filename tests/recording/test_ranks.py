"""A recorder made in every process of a distributed training: one records, and the others say what to do."""

import os
import subprocess
from pathlib import Path

import pytest

from embevo import open_run
from support.interpreters import interpreter

SCRIPT = """
import os, sys, time
from pathlib import Path
import torch
from embevo import Recorder
from embevo.errors import RunExistsError, RunInUseError
run, refused = Path(sys.argv[1]), Path(sys.argv[2])
only_first = sys.argv[3] == "only the first"
if not only_first or os.environ["RANK"] == "0":
    try:
        with Recorder(run, {"embeddings": torch.zeros(6, 4)}) as recorder:
            recorder.capture(0)
            while not only_first and not refused.exists():
                time.sleep(0.01)
    except (RunInUseError, RunExistsError) as error:
        refused.with_suffix(".partial").write_text(f"{os.environ['RANK']}|{error}")
        refused.with_suffix(".partial").rename(refused)
"""


@pytest.mark.parametrize("who", ["every rank", "only the first"])
def test_one_rank_records_and_the_other_says_which_it_is(tmp_path: Path, who: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = [str(tmp_path / "run"), str(tmp_path / "refused"), who]
    torchrun = [interpreter(), "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON_EXEC": interpreter()}
    done = subprocess.run(
        [*torchrun, str(script), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert open_run(tmp_path / "run").steps.tolist() == [0]
    assert (tmp_path / "refused").exists() == (who == "every rank")
    if who == "every rank":
        rank, message = (tmp_path / "refused").read_text().split("|")
        assert f"This process is rank {rank} of 2" in message
        assert 'where os.environ["RANK"] is "0"' in message
