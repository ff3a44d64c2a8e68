"""Runs that were really trained, to be read and compressed: made-up numbers compress like nothing real."""

from pathlib import Path

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.record import run_experiment

#: Initialisation and dtype of each.
KINDS = {
    "normal, bfloat16": {"init": "normal", "dtype": "bfloat16"},
    "qwen, bfloat16": {"init": "qwen", "dtype": "bfloat16"},
    "normal, float32": {"init": "normal", "dtype": "float32"},
}


def trained_runs(steps: int, directory: Path) -> dict[str, Path]:
    """Directories of a run of each kind; those that are there already are not trained again."""
    runs = {}
    for name, fields in KINDS.items():
        path = directory / f"{fields['init']}-{fields['dtype']}-{steps}"
        if not path.exists():
            config = ExperimentConfig.from_mapping({**fields, "steps": steps, "device": "cpu"})
            run_experiment(config, path)
        runs[name] = path
    return runs
