"""What tables call a number is said once, where the measure declares it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo

from embevo.analysis import analyze
from embevo.analysis.comparison import compare
from embevo.analysis.measures import registry
from embevo.analysis.measures.measure import Number
from embevo.analysis.report.tables import numbers_of
from support import trajectories


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every label is another one, and says of which name it is."""
    variables = {
        name: dataclasses.replace(of, label=f"renamed-{name}") for name, of in registry.VARIABLES.items()
    }
    numbers = {
        name: Number(name, f"renamed-{name}", "") for of in registry.MEASURES for name in names_of(of.numbers)
    }
    monkeypatch.setattr(registry, "VARIABLES", variables)
    monkeypatch.setattr(registry, "NUMBERS", numbers)


def names_of(numbers: tuple[Number, ...]) -> list[str]:
    return [number.name for number in numbers]


def run(path: Path, seed: int) -> Path:
    values = trajectories.brownian(121, 6, 4, seed).astype(np.float32)
    return trajectories.record(path, values, dead=[1, 2], config={"init": "qwen", "seed": seed})


@pytest.mark.usefixtures("renamed")
def test_every_table_takes_its_labels_from_the_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    paths = [run(tmp_path / f"run{seed}", seed) for seed in range(2)]
    found = [analyze(path, keep=False) for path in paths]
    console = CliRunner().invoke(embevo, ["analyze", str(paths[0]), "--no-keep"]).output
    report = list(numbers_of(found[0]))
    together = [quantity.name for quantity in compare(found).groups[0].quantities]
    for variable in registry.told(found[0].summary["groups"].values()):
        assert variable.label in console
        groups = variable.told.groups if variable.told else ()
        for labels in (report, together):
            assert len([label for label in labels if label.split(",")[0] == variable.label]) == len(groups)
    for name in (
        "exponents.centroid",
        "phases.moving",
        "jaccard_all",
        "events",
        "loss",
        "live_dead_distance",
    ):
        assert f"enamed-{name}" in console, name
    for name in ("dead_coherence", "events", "unigram_loss", "exponents.tokens"):
        assert any(f"renamed-{name}" in label for label in report), name
    assert {"renamed-freeze_step", "renamed-loss_last"} <= set(together)
