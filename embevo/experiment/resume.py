"""Taking an interrupted run up again: what must be the same, and where training goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embevo.errors import ResumeError
from embevo.experiment.checkpoint import FoundCheckpoint, find_checkpoint
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus
from embevo.run.format.schedule import Schedule
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run, open_run


def check_same(run: Run, config: ExperimentConfig, corpus: Corpus, environment: Mapping[str, str]) -> None:
    """Refuse to go on where the numbers would not be those of a run never interrupted.

    Raises:
        ResumeError: with every difference named.
    """
    # A setting that the run does not know yet had the value that is now the default.
    before: dict[str, Any] = {
        **ExperimentConfig().to_mapping(),
        **run.config,
        **run.attributes.get("environment", {}),
    }
    now: dict[str, Any] = {**config.to_mapping(), **environment}
    before["corpus SHA-256"] = run.corpus.get("sha256")
    now["corpus SHA-256"] = corpus.sha256
    # The corpus is compared by its bytes, and the device by what was found.
    may_differ = {
        name for name, meaning in ExperimentConfig.meanings().items() if meaning in ("content", "conduct")
    }
    # A run keeps the device that was asked for in its configuration, the one found in its environment.
    differences = [
        f"{name} was {before.get(name)!r} and is {now[name]!r}"
        for name in sorted(now)
        if name not in may_differ - set(environment) and before.get(name) != now[name]
    ]
    if differences:
        raise ResumeError(
            f"{run.path} cannot be resumed, because its numbers would change: {'; '.join(differences)}. "
            "Resume it as it was begun, or start a new run."
        )


def starting_point(run_dir: Path, recorded: Schedule) -> FoundCheckpoint:
    """The checkpoint that training goes on from: the newest whole one that leaves no gap in the run.

    Args:
        run_dir: the run.
        recorded: the steps that are recorded.
    """
    steps = open_run(run_dir).steps
    return find_checkpoint(RunPaths(run_dir).checkpoints, int(steps[-1]) if len(steps) else -1, recorded)
