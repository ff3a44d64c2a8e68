"""Everything that a run gives out, and the files that it is read from."""

from pathlib import Path
from typing import Any

from embevo.run.reading.reader import Run


def files_of(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def read_all(path: Path) -> dict[str, Any]:
    """Everything that a run gives out."""
    run = Run(path)
    rows = range(len(run.steps))
    return {
        "steps": run.steps.tobytes(),
        "images": [(step, image.tobytes()) for step, image in run.images(rows)],
        "arrays": [run[name][:].tobytes() for name in ("embeddings", "loss", "learning_rate")],
        "single": [run["embeddings"][row].tobytes() for row in rows],
        "tokens": run.tokens.count.tobytes() if run.tokens else b"",
        "attributes": run.attributes,
    }
