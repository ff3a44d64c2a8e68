"""embevo info and embevo ls."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from embevo import Recorder
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths
from support import written


def test_info_says_all_on_one_screen(invoke: Any, tmp_path: Path) -> None:
    counts = np.ones(128, np.int64)
    counts[[0, 1, 2, 64, 127]] = 0
    frame = written.frame_of((128, 4), embeddings="bfloat16")
    run = written.write_run(
        tmp_path / "run", rows=7, sealed=7, frame=frame, every=10, token_count=counts, vocabulary="bytes"
    )
    run.journal.close()
    RunPaths(run.path).journal.unlink()
    result = invoke("info", run.path)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for expected in (
        "state complete",
        "steps 7: 0..60",
        "gaps none",
        "shape 7 x 128 x 4 (step, token, dim)",
        "embeddings bfloat16, in Zarr as float32; files of 4 x 128 x 4",
        "per step loss, learning_rate",
        "store both, sealed in blocks of 4 steps",
        "trajectory.zarr",
        "config seed 0",
        "tokens 123 live, 5 dead",
        "dead x00..x02, @, x7f",
    ):
        assert expected in text
    assert len(result.output.splitlines()) < 24


def test_dead_tokens_of_a_vocabulary_that_is_not_known_to_be_bytes_are_ids(
    invoke: Any, tmp_path: Path
) -> None:
    counts = np.ones(128, np.int64)
    counts[[0, 1, 2, 33, 64, 127]] = 0
    frame = written.frame_of((128, 4))
    run = written.write_run(tmp_path / "run", rows=3, sealed=3, frame=frame, token_count=counts)
    run.journal.close()
    text = " ".join(invoke("info", run.path).output.split())
    assert "dead 0..2, 33, 64, 127" in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=200) | st.dictionaries(st.text(max_size=30), inner, max_size=40),
    max_leaves=60,
)


@given(
    st.dictionaries(st.text(min_size=1, max_size=30), JSON, max_size=60),
    st.dictionaries(st.sampled_from(["corpus", "versions", "mine"]), JSON),
)
@example({f"setting {number}": "x" * 50 for number in range(400)}, {})
@example(
    {}, {name: {str(number): "y" * 50 for number in range(100)} for name in ("corpus", "versions", "mine")}
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_info_is_one_screen_whatever_the_attributes_hold(
    invoke: Any, tmp_path: Path, config: dict[str, Any], attributes: dict[str, Any]
) -> None:
    path = tmp_path / "run"
    shutil.rmtree(path, ignore_errors=True)
    frame = written.frame_of(**{f"array{number}": "float32" for number in range(9)})
    counts = np.arange(5) % 2
    run = written.write_run(
        path, rows=2, sealed=2, frame=frame, token_count=counts, config=config, **attributes
    )
    run.journal.close()
    lines = invoke("info", path).output.splitlines()
    assert len(lines) <= 30
    assert "and 5 more: array" in " ".join(" ".join(lines).split())
    assert "--all prints all of it" in " ".join(" ".join(lines).split())


def test_all_of_a_long_attribute_is_there_on_request(invoke: Any, tmp_path: Path) -> None:
    names = {str(number): f"LABEL_{number}" for number in range(2000)}
    run = written.write_run(tmp_path / "run", rows=2, sealed=2, config={"id2label": names, "last": 7})
    run.journal.close()
    short = invoke("info", run.path).output
    assert len(short.splitlines()) < 24
    assert "last 7" in " ".join(short.split())
    assert "LABEL_1999" not in short
    whole = "".join(invoke("info", run.path, "--all").output.split())
    assert "LABEL_1999" in whole
    assert "prints" not in whole


def test_many_settings_are_folded_and_listed_on_request(invoke: Any, tmp_path: Path) -> None:
    config = {f"setting_{number}": "x" * number for number in range(80)}
    run = written.write_run(tmp_path / "run", rows=2, sealed=2, config=config, corpus={"name": "novel"})
    run.journal.close()
    short = invoke("info", run.path).output
    assert "config 80 in all: setting_0" in " ".join(short.split())
    assert len(short.splitlines()) < 22
    assert "--settings the settings alone" in " ".join(short.split())
    listed = invoke("info", run.path, "--settings").output
    lines = [line.split() for line in listed.splitlines()]
    assert lines[0][:2] == ["config", "setting_0"]
    assert ["setting_9", "x" * 9] in lines
    assert sum(line[0].startswith("setting_") for line in lines) == 79
    assert ["corpus", "name", "novel"] in lines
    assert "trajectory.zarr" not in listed
    assert json.loads(invoke("info", run.path, "--json").output)["config"] == config


def test_info_tells_the_states_apart(invoke: Any, tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=7, sealed=4)
    assert "interrupted: 3 rows in the journal" in invoke("info", run.path).output
    lock = WriterLock(RunPaths(run.path).lock)
    assert "being written by process" in invoke("info", run.path).output
    lock.release()


def test_info_names_gaps_and_what_was_asked_for(invoke: Any, tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=0, sealed=0)
    assert "none yet" in invoke("info", run.path).output
    for row, step in enumerate([0, 1, 5, 6]):
        written.put(run.journal, row, step)
    assert "3 missing: 2..4" in invoke("info", run.path).output


def test_info_says_when_a_run_ended_before_what_was_asked_for(invoke: Any, tmp_path: Path) -> None:
    for steps in (2, 100):
        weight = {"embeddings": torch.zeros(5, 3)}
        said = {"experiment": {"last_step": steps}, "config": {"steps": 1000}}
        with Recorder(tmp_path / str(steps), weight, attributes=said) as recorder:
            for step in range(3):
                recorder.capture(step)
    assert "3: 0..2 of 100 asked for" in invoke("info", tmp_path / "100").output
    assert "asked for" not in invoke("info", tmp_path / "2").output


def test_info_has_the_shape_and_the_axes_of_every_array(invoke: Any, tmp_path: Path) -> None:
    arrays = {"kernel": torch.zeros(4, 3, 2), "bias": torch.zeros(4), "gain": torch.zeros(4, 3, 2)}
    axes = {"kernel": ("out", "in", "place"), "bias": ("out",), "gain": ("out", "in", "place")}
    with Recorder(tmp_path / "run", arrays, dimensions=axes) as recorder:
        recorder.capture(0)
    shown = {line.split()[0]: line for line in invoke("info", tmp_path / "run").output.splitlines()}
    assert "1 x 4 (step, out)" in shown["shape"]
    for name in ("gain", "kernel"):
        assert "4 x 3 x 2 (out, in, place) float32" in shown[name]
    assert "token" not in shown["shape"]


def test_info_as_json_is_the_summary(invoke: Any, tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=7, sealed=4)
    fields = json.loads(invoke("info", run.path, "--json").output)
    assert (fields["path"], fields["state"]) == (str(run.path), "interrupted")
    assert fields["shape"] == [7, 5, 3]
    assert fields["total_bytes"] == sum(fields["bytes"].values())


@pytest.mark.parametrize("parts", [["trajectory.zarr"], ["manifest"], []])
def test_info_says_what_is_wrong_with_a_directory(invoke: Any, tmp_path: Path, parts: list[str]) -> None:
    run = written.write_run(tmp_path / "run", rows=7, sealed=4)
    path = run.path.joinpath(*parts) if parts else tmp_path
    result = invoke("info", path)
    assert result.exit_code == 2
    assert f"{path} is not a run: " in result.stderr


def test_ls_is_a_table_of_runs(invoke: Any, tmp_path: Path) -> None:
    written.write_run(
        tmp_path / "a" / "first", rows=7, sealed=7, frame=written.frame_of(embeddings="bfloat16")
    )
    written.write_run(tmp_path / "second", rows=3, sealed=0, store="zarr", every=10)
    broken = written.write_run(tmp_path / "third", rows=3, sealed=3)
    RunPaths(broken.path).manifest.unlink()
    result = invoke("ls", tmp_path)
    assert result.exit_code == 0
    head, first, second, third, reason = (line.split() for line in result.output.splitlines())
    assert head == ["run", "state", "steps", "last", "shape", "dtype", "store", "size"]
    assert first[:7] == ["a/first", "interrupted", "7", "6", "5x3", "bfloat16", "both"]
    assert second[:7] == ["second", "interrupted", "3", "20", "5x3", "float32", "zarr"]
    assert third == ["third", "broken"]
    assert reason[:2] == ["broken:", str(broken.path)]


def test_ls_as_json_is_one_run_a_line(invoke: Any, tmp_path: Path) -> None:
    written.write_run(tmp_path / "a", rows=7, sealed=7)
    broken = written.write_run(tmp_path / "b", rows=3, sealed=3)
    RunPaths(broken.path).manifest.unlink()
    whole, torn = (json.loads(line) for line in invoke("ls", tmp_path, "--json").output.splitlines())
    assert (whole["path"], whole["rows"]) == (str(tmp_path / "a"), 7)
    assert (torn["path"], torn["state"]) == (str(tmp_path / "b"), "broken")


def test_ls_finds_nothing_and_says_so(invoke: Any, tmp_path: Path) -> None:
    assert "No runs in" in invoke("ls", tmp_path).output
    written.write_run(tmp_path / "a" / "b", rows=1, sealed=1)
    assert "No runs in" in invoke("ls", tmp_path, "--depth", 1).output
    assert "a/b" in invoke("ls", tmp_path, "--depth", 2).output
