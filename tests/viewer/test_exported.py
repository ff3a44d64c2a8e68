"""Runs for the viewers of others: TensorBoard's projector and Rerun."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from embevo_cli.main import embevo

from embevo.errors import MissingLibraryError
from embevo.run.reading.reader import open_run
from embevo.viewer.to_projector import CONFIG, METADATA
from embevo.viewer.to_rerun import find_rerun
from viewer.conftest import DEAD, DIM, TOKENS
from viewer.test_site import components


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(embevo, ["export", *map(str, arguments)])


def test_the_projector_is_given_the_recorded_numbers(recorded: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "projector"
    done = invoke(recorded[0], "--tensorboard-projector", out, "--steps", "10:12")
    assert done.exit_code == 0, done.output
    values = open_run(recorded[0])["embeddings"][:]
    for step in (10, 11):
        text = (out / f"step_{step:07d}.tsv").read_text()
        found = np.array([line.split("\t") for line in text.splitlines()], np.float32)
        np.testing.assert_array_equal(found, values[step])
    config = (out / CONFIG).read_text()
    assert re.findall(r'tensor_path: "(.*)"', config) == ["step_0000010.tsv", "step_0000011.tsv"]
    assert re.findall(r"tensor_shape: (\d+)", config) == [str(TOKENS), str(DIM)] * 2
    assert re.findall(r'metadata_path: "(.*)"', config) == [METADATA] * 2
    head, *lines = [line.split("\t") for line in (out / METADATA).read_text().splitlines()]
    assert head == ["token", "id", "count", "group"]
    assert [int(token) for _, token, _, _ in lines] == list(range(TOKENS))
    assert [place for place, line in enumerate(lines) if line[3] == "dead"] == DEAD
    assert all(len(line) == 4 and all(line) for line in lines)


def test_the_projector_is_given_the_last_step_unless_others_are_named(
    recorded: list[Path], tmp_path: Path
) -> None:
    done = invoke(recorded[0], "--tensorboard-projector", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        METADATA, CONFIG, "step_0000149.tsv",
    ]  # fmt: skip
    again = invoke(recorded[0], "--tensorboard-projector", tmp_path / "out")
    assert again.exit_code == 2
    assert "there already" in again.output


def test_what_is_missing_or_too_much_is_said(
    recorded: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("--rerun", tmp_path / "a.rrd", "--tensorboard-projector", tmp_path / "b")
    for arguments in ((), both, (*both[2:], "--overwrite")):
        done = invoke(recorded[0], *arguments)
        assert done.exit_code == 2, done.output
        assert "--tensorboard-projector" in done.output or "projector" in done.output
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'embevo\[rerun\]'"):
        find_rerun()
    assert not list(tmp_path.iterdir())


def read_back(path: Path) -> dict[str, dict[str, Any]]:
    """Of each entity its columns, those over time and those that are always so together."""
    chunk = pytest.importorskip("rerun.chunk", reason="this rerun-sdk has no reader of its files")
    found: dict[str, dict[str, list[Any]]] = {}
    for part in chunk.RrdReader(str(path)).stream():
        columns = part.to_record_batch().to_pydict()
        for name, values in columns.items():
            found.setdefault(part.entity_path, {}).setdefault(name, []).extend(values)
    return found


def test_rerun_is_given_the_cloud_along_principal_components(recorded: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed: pip install 'embevo[rerun]'")
    out = tmp_path / "run.rrd"
    done = invoke(recorded[0], "--rerun", out, "--steps", "::10")
    assert done.exit_code == 0, done.output
    found = read_back(out)
    run = open_run(recorded[0])
    values = np.asarray(run["embeddings"][:], np.float64)[::10]
    mean, basis = components(values[-1])
    expected = (values - mean) @ basis[:3].T
    for group, members in (("dead", DEAD), ("live", sorted(set(range(TOKENS)) - set(DEAD)))):
        entity = found[f"/tokens/{group}"]
        assert entity["step"] == run.steps[::10].tolist()
        np.testing.assert_allclose(np.array(entity["Points3D:positions"]), expected[:, members], atol=2e-6)
        assert len(entity["Points3D:labels"][0]) == len(members)
    loss = np.ravel(found["/recorded/loss"]["Scalars:scalars"])
    np.testing.assert_array_equal(loss, run["loss"][:][::10])
    assert invoke(recorded[0], "--rerun", out).exit_code == 2
    assert invoke(recorded[0], "--rerun", out, "--overwrite").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run.rrd"]
