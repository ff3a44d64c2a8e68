"""What an untrusted run is used for, and what must hold whatever is in it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embevo.errors import EmbevoError
from embevo.run.format.layout import Store
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import written

ROOM = 1 << 29
FILES = [
    "manifest",
    "journal",
    "trajectory.zarr/zarr.json",
    "trajectory.zarr/embeddings/zarr.json",
    "trajectory.zarr/embeddings/c.0.0.0",
    "trajectory.zarr/loss/c.2",
    "trajectory.zarr/step/c.1",
    "trajectory.zarr/token_count/c.0",
    "snapshots/step_0000003.safetensors",
]


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """What is read may not make the process grow by more than half a GiB.

    The peak is looked at afterwards: a limit beforehand would fail the threads of zarr in places where nobody
    can report it.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        yield
        return
    before = peak_bytes()
    yield
    assert peak_bytes() - before < ROOM


def peak_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return 1024 * int(line.split()[1])


def originals(directory: Path) -> dict[Store, Path]:
    """A run with two sealed blocks, a short third one, and two rows in the journal, in each kind of store."""
    counts = np.arange(5, dtype=np.int64)
    stores: list[Store] = ["both", "zarr", "safetensors"]
    return {
        store: written.write_run(directory / store, rows=12, sealed=10, store=store, token_count=counts).path
        for store in stores
    }


def read_everything(path: Path) -> dict[str, Any]:
    run = open_run(path)
    rows = range(len(run.steps))
    return {
        "steps": run.steps.tolist(),
        "images": [(step, image.tobytes()) for step, image in run.images(rows)],
        "arrays": {name: run[name][:].tobytes() for name in ("embeddings", "loss", "learning_rate")},
        "tokens": run.tokens.count.tolist() if run.tokens else None,
        "config": run.config,
        "corpus": run.corpus,
        "shape": run.shape,
    }


def use(path: Path) -> dict[str, Any] | None:
    """All that can be done to a run; None if it was refused. Anything but an EmbevoError is a failure."""
    found = None
    with contextlib.suppress(EmbevoError):
        found = read_everything(path)
    for do in (lambda: verify(path, deep=True), lambda: recover(path)):
        with contextlib.suppress(EmbevoError):
            do()
    return found


def copied(original: Path, tmp_path: Path) -> Path:
    target = tmp_path / "inside" / "run"
    shutil.rmtree(tmp_path, ignore_errors=True)
    shutil.copytree(original, target)
    return target
