"""embevo analyze."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import trajectories


def run(path: Path, seed: int = 0, **config: object) -> Path:
    values = trajectories.brownian(121, 6, 4, seed).astype(np.float32)
    values[0] = values[0, 0]
    settings = trajectories.experiment(**{"init": "qwen", "seed": seed, "dtype": "float32", **config})
    return trajectories.record(path, values, dead=[1, 2], config=settings)


def test_it_prints_the_numbers_the_verdicts_and_the_thresholds(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = run(tmp_path / "run")
    result = invoke("analyze", path)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for expected in (
        "embeddings, singular initialisation, float32, 121 rows x 6 tokens x 4 dimensions, steps 0 to 120",
        "tokens 6 4 2",
        "distinct rows, first to last row 1 to 6 1 to 4 1 to 2",
        "Events of black holes: 1 death.",
        "at identical location supported number of distinct rows at step 0 is 1; predicted = 1",
        "S4 Dead tokens stay frozen",
        "refuted",
        "Thresholds: min_steps 100,",
    ):
        assert expected in text, expected
    assert (path / "analysis.zarr/zarr.json").is_file()
    assert (path / "analysis.json").is_file()


def test_json_holds_what_the_file_holds(invoke: Any, tmp_path: Path) -> None:
    path = run(tmp_path / "run")
    printed = json.loads(invoke("analyze", path, "--json").output)
    kept = json.loads((path / "analysis.json").read_text())
    (one,) = printed["runs"]
    assert one["summary"] == kept["summary"]
    assert one["verdicts"] == kept["verdicts"]
    assert printed["comparison"] is None


def test_thresholds_are_changed_and_explained(invoke: Any, tmp_path: Path) -> None:
    path = run(tmp_path / "run")
    changed = json.loads(invoke("analyze", path, "--threshold", "start_places=2", "--json").output)
    assert changed["runs"][0]["verdicts"][0]["outcome"] == "refuted"
    assert changed["runs"][0]["thresholds"]["start_places"] == 2
    assert "One location is one location." in " ".join(invoke("analyze", path, "--thresholds").output.split())
    wrong = invoke("analyze", path, "--threshold", "start_place=2")
    assert wrong.exit_code == 2
    assert "did you mean start_places?" in wrong.stderr


def test_several_runs_are_judged_together(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    paths = [run(tmp_path / f"a{seed}", seed) for seed in range(5)]
    paths += [run(tmp_path / f"b{seed}", seed, dtype="bfloat16") for seed in range(2)]
    text = " ".join(invoke("analyze", *paths, "--no-keep").output.split())
    for expected in (
        "dtype=float32 (5 runs) dtype=bfloat16 (2 runs) Cohen's d, dtype=float32 and dtype=bfloat16",
        "distinct rows, dead tokens, in the last row 2 (2 to 2) 2 (2 to 2) 0",
        "An interval covers the median of all such seeds in 94 % of cases.",
        "S1 run by run: 5 supported.",
    ):
        assert expected in text, expected
    assert not (paths[0] / "analysis.json").exists()


def test_runs_that_embevo_train_did_not_make_are_judged_on_request_only(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    values = trajectories.brownian(121, 6, 4).astype(np.float32)
    path = trajectories.record(tmp_path / "run", values - values[0], dead=[1, 2], config={"init": "random"})
    text = " ".join(invoke("analyze", path).output.split())
    assert "The predictions of embevo's experiment are not about this run" in text
    assert "embeddings, float32, 121 rows" in text
    assert "Unigram entropy of the corpus: 1.251 nats" in text
    for word in ("supported", "refuted", "singular", "initialisation", "Thresholds", "frequencies only"):
        assert word not in text.replace("--judge", ""), word
    asked = " ".join(invoke("analyze", path, "--judge").output.split())
    assert "not for this run; it is judged by them because that was asked for" in asked
    assert "all its tokens start at one point" in asked
    assert "S1 All tokens start at identical location supported" in asked
    assert "supported" not in invoke("analyze", path).output


def test_what_is_not_the_embedding_is_never_judged(invoke: Any, tmp_path: Path) -> None:
    values = trajectories.brownian(121, 6, 4).astype(np.float32)
    path = trajectories.record(
        tmp_path / "run", values - values[0], matrix="gradient", config=trajectories.experiment()
    )
    text = " ".join(invoke("analyze", path).output.split())
    assert "are about embeddings, and gradient is another array" in text
    assert "supported" not in text
    refused = invoke("analyze", path, "--judge")
    assert refused.exit_code == 2
    assert "gradient is another array: it cannot be judged" in " ".join(refused.stderr.split())


def test_mistakes_are_named(invoke: Any, tmp_path: Path) -> None:
    path = run(tmp_path / "run")
    for arguments, message in (
        ((tmp_path / "nothing",), "there is no such directory"),
        ((path, "--matrix", "wte"), "has no matrix 'wte'; its matrices are embeddings"),
        ((path, "--threshold", "tight"), "write NAME=VALUE"),
    ):
        result = invoke("analyze", *arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())


def test_without_xarray_it_says_what_to_install(python: Any, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['xarray'] = None\n"
        "from click.testing import CliRunner; from embevo_cli.main import embevo\n"
        "result = CliRunner().invoke(embevo, ['analyze', sys.argv[1]])\n"
        "print(result.exit_code, result.stderr)"
    )
    printed = python(program, [run(tmp_path / "run")])
    assert printed.startswith("2 ")
    assert "pip install 'embevo[analysis]'" in printed
