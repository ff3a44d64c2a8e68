"""What recording the embedding matrix of a large model would take on this machine, as embevo plan says it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.result import Result

_OPTIONS: Final = (
    *("--shape", "151936x2560", "--steps", "10000", "--every", "10", "--rate", "0.5", "--store", "zarr"),
    "--measure",
)
# The labels of its lines are padded to this width.
_LABEL: Final = 16


def measure(directory: Path) -> Result:
    """The matrix of Qwen3-4B."""
    result = Result(
        "A Qwen3-4B matrix",
        "151,936 x 2,560 in bfloat16, every tenth of 10,000 steps at one step in two seconds, on paper and "
        f"with this machine's own rates: `embevo plan {' '.join(_OPTIONS)}`.",
        ("", "embevo plan says"),
    )
    program = "from embevo_cli.main import main; main()"
    command = [sys.executable, "-c", program, "plan", *_OPTIONS, "--out", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # It exits with 1 where the recording does not fit, and says why.
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(done.stderr)
    lines = [(line[:_LABEL].strip(), line[_LABEL:]) for line in done.stdout.splitlines()]
    result.rows += [(label, text) for label, text in lines if text]
    for line in done.stderr.splitlines():
        label, _, text = line.partition(": ")
        result.rows.append((label.lower(), text))
    return result
