"""Starting the training that records itself in several processes."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support.interpreters import interpreter

SCRIPT = Path(__file__).parent / "sharded.py"


def torchrun(processes: int, folder: Path, *cases: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run cases of ``sharded.py`` below a folder, one after the other, with options of the recorder."""
    command = [interpreter(), "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHON_EXEC": interpreter(),
        "SHARDED": json.dumps(options),
    }
    return subprocess.run(
        [*command, str(SCRIPT), str(folder), *cases],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
