"""What settings mean is declared where they are, and stored in the run; nothing below knows their names."""

import ast
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.analysis import analyze
from embevo.analysis.comparison import compare
from embevo.experiment.config import ExperimentConfig
from embevo.run.format.settings import (
    Meaning,
    initialisation_of,
    labels_of,
    meanings_of,
    schedule_of,
    setting_apart,
)
from embevo.run.repair.verification import verify
from support import trajectories

TREE = Path(__file__).parents[2] / "embevo"


@given(
    st.builds(
        ExperimentConfig,
        init=st.sampled_from(["normal", "qwen", "qwen-unit"]),
        context=st.integers(3, 999),
        steps=st.integers(1, 9999),
        every=st.integers(1, 99),
        seed=st.integers(0, 99),
        objective=st.sampled_from(["next-token", "seed"]),
    )
)
def test_a_run_from_before_the_attribute_is_read_as_one_that_has_it(config: ExperimentConfig) -> None:
    before = {"config": config.to_mapping()}
    now = {**before, "experiment": config.to_experiment()}
    for said in (initialisation_of, labels_of, schedule_of):
        assert said(now) == said(before)
    assert setting_apart(before["config"], meanings_of(before)) == (
        setting_apart(now["config"], meanings_of(now))
    )


def test_every_setting_says_what_it_means() -> None:
    meanings = ExperimentConfig.meanings()
    assert meanings.keys() == ExperimentConfig().to_mapping().keys()
    assert set(meanings.values()) == set(get_args(Meaning))
    assert meanings["learning_rate"] == "numbers"


def test_no_other_room_knows_the_names_of_the_experiment() -> None:
    """Names that mean nothing but a setting of the experiment, in the code of the rooms below it."""
    names = {"qwen", "qwen-unit", "init", "objective", "checkpoint_every", "checkpoint_seconds", "context"}
    found = {
        (path.relative_to(TREE).as_posix(), node.value)
        for room in ("run", "analysis")
        for path in (TREE / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    }
    assert {path for path, _ in found} == {"run/format/settings.py", "run/format/provenance.py"}


def test_what_another_program_says_of_its_settings_is_believed(tmp_path: Path) -> None:
    values = trajectories.brownian(40, 4, 3).astype(np.float32)
    found = []
    for number, width in enumerate([1, 1, 2]):
        path = trajectories.record(
            tmp_path / f"run{number}",
            values,
            steps=range(0, 80, 2),
            dead=[1],
            config={"draw": number, "width": width},
            experiment={
                "settings": {"draw": "sample"},
                "initialisation": "singular",
                "loss_labels": [3, 4],
                "last_step": 80,
                "every": 2,
            },
        )
        assert verify(path).missing == [[80, 80, 2]]
        found.append(analyze(path, keep=False, judge=True))
    assert [(group.label, len(group.runs)) for group in compare(found).groups] == [
        ("width=1", 2),
        ("width=2", 1),
    ]
    summary = found[0].summary
    assert summary["initialisation"] == "singular"
    assert summary["unigram_loss"] == pytest.approx(summary["unigram_entropy"] * 3 / 4)


@pytest.mark.parametrize(
    "said",
    [
        None,
        7,
        {"settings": 7, "initialisation": ["normal"], "loss_labels": [0, 0], "last_step": "x", "every": 0},
        {"settings": {"seed": "nonsense", "x": ["numbers"]}, "loss_labels": [1]},
    ],
)
def test_nonsense_in_the_attribute_is_no_crash(tmp_path: Path, said: Any) -> None:
    attributes = {"experiment": said, "config": {"x": 1}}
    assert initialisation_of(attributes) is None
    assert labels_of(attributes) is None
    assert schedule_of(attributes) is None
    assert setting_apart({"x": 1}, meanings_of(attributes)) == {"x": 1}
