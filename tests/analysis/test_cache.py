"""What is kept in a run: found again, made anew when it must be, and in nobody's way."""

import importlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from embevo import Recorder
from embevo.analysis import analyze
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.reading.summary import find_runs, summarize
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import trajectories

# The package gives its function the module's name.
module = importlib.import_module("embevo.analysis.analyze")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    values = trajectories.brownian(130, 6, 4).astype(np.float32)
    values[:, 2] = values[:, 4]
    return trajectories.record(
        tmp_path / "run",
        values,
        dead=[2, 4],
        store="both",
        config=trajectories.experiment(init="qwen", steps=len(values) - 1),
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a trajectory was really measured."""
    calls: list[int] = []
    real = module.measure

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(module, "measure", counted)
    return calls


def test_a_second_call_finds_the_same_without_measuring(run: Path, measured: list[int]) -> None:
    first, second = analyze(run), analyze(open_run(run))
    assert len(measured) == 1
    assert second.series.identical(first.series)
    assert {name: str(variable.dtype) for name, variable in first.series.variables.items()} == {
        name: str(variable.dtype) for name, variable in second.series.variables.items()
    }
    assert second.to_json() == first.to_json()
    assert second.events == first.events
    assert second.labels == first.labels == ["x00", "x01", "x02", "x03", "x04", "x05"]


def test_plain_xarray_reads_the_series(run: Path) -> None:
    first = analyze(run)
    with xr.open_zarr(run / "analysis.zarr", chunks=None) as series:
        assert series["radius_rms"].sel(group="dead").equals(first.series["radius_rms"].sel(group="dead"))
        assert series["radius_rms"].attrs["units"] == "embedding units"
    kept = json.loads((run / "analysis.json").read_text())
    assert kept["verdicts"][0]["outcome"] == "refuted"
    assert str(run) not in (run / "analysis.json").read_text()


def test_another_question_is_not_answered_from_what_is_kept(run: Path, measured: list[int]) -> None:
    analyze(run)
    for question in ({"basis": "all"}, {"thresholds": {"msd_min_lag": 5}}, {"matrix": "embeddings"}):
        analyze(run, **question)
    assert len(measured) == 4
    # Judging anew needs no measuring, and what is kept says by what it was judged.
    found = analyze(run, {"start_places": 5})
    assert found.verdicts[0].outcome == "supported"
    assert len(measured) == 4
    kept = json.loads((run / "analysis.json").read_text())
    assert (kept["thresholds"]["start_places"], kept["verdicts"][0]["outcome"]) == (5, "supported")


def test_it_is_made_anew_when_the_run_has_grown(tmp_path: Path, measured: list[int]) -> None:
    with Recorder(tmp_path / "run", {"embeddings": torch.zeros(3, 2)}) as recorder:
        recorder.capture(0)
        assert analyze(tmp_path / "run").series.sizes["step"] == 1
        recorder.capture(1)
        assert analyze(tmp_path / "run").series.sizes["step"] == 2
    found = analyze(tmp_path / "run", judge=True)
    assert found.series.sizes["step"] == 2
    assert found.summary["initialisation"] == "singular"
    assert len(measured) == 3
    assert (found.series["centroid"].sel(group="all") == 0).all()


@pytest.mark.parametrize("damage", ["chunk", "missing", "json", "truncated"])
def test_damage_to_what_is_kept_is_noticed(run: Path, measured: list[int], damage: str) -> None:
    first = analyze(run)
    chunk = next(path for path in (run / "analysis.zarr/radius_rms").rglob("*") if path.name != "zarr.json")
    chunk = chunk if chunk.is_file() else next(path for path in chunk.rglob("*") if path.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    match damage:
        case "chunk":
            chunk.write_bytes(data)
        case "missing":
            chunk.unlink()
        case "json":
            (run / "analysis.json").write_text("[1]")
        case "truncated":
            (run / "analysis.json").write_bytes((run / "analysis.json").read_bytes()[:-9])
    assert analyze(run).series.identical(first.series)
    assert len(measured) == 2
    assert analyze(run).series.identical(first.series)
    assert len(measured) == 2


def test_a_directory_that_cannot_be_written_is_analysed_all_the_same(run: Path) -> None:
    kept = sorted(path.name for path in run.iterdir())
    # Root may write anywhere, so the file system is made to refuse.
    (run / "analysis.zarr").write_text("in the way")
    found = analyze(run)
    assert "was not kept" in found.note
    assert str(run) in found.note
    assert sorted(path.name for path in run.iterdir()) == sorted([*kept, "analysis.zarr"])


def test_the_run_remains_in_order(run: Path) -> None:
    analyze(run)
    assert verify(run, deep=True).ok
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = recover(run)
    assert (done.sealed, done.removed, done.rebuilt, done.lost) == ([], [], [], [])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    summary = summarize(run)
    assert summary.state == "complete"
    assert summary.bytes["analysis.zarr"] > 0
    assert [found.path for found in find_runs(run.parent, depth=2)] == [str(run)]


def test_recovery_sweeps_what_a_killed_analysis_left(run: Path) -> None:
    (run / "analysis.zarr.123.partial").mkdir()
    (run / "analysis.zarr.123.partial/zarr.json").write_text("{}")
    assert not verify(run).ok
    assert "analysis.zarr.123.partial" in recover(run).removed
    assert verify(run).ok


def test_recording_over_a_run_takes_its_analysis_away(run: Path) -> None:
    analyze(run)
    with Recorder(run, {"embeddings": torch.ones(2, 2)}, overwrite=True) as recorder:
        recorder.capture(0)
    assert not RunPaths(run).analysis.exists()
    assert not RunPaths(run).analysis_json.exists()
    assert analyze(run).series.sizes["token"] == 2


def test_a_run_is_taken_up_again_with_an_analysis_in_it(tmp_path: Path) -> None:
    weight = torch.ones(2, 2)
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        recorder.capture(0)
    analyze(tmp_path / "run")
    with Recorder(tmp_path / "run", {"embeddings": weight}, resume=True) as recorder:
        recorder.capture(1)
    assert analyze(tmp_path / "run").series.sizes["step"] == 2


def test_several_at_once_agree(run: Path) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(analyze(run))) for _ in range(3)]
    program = f"from embevo.analysis import analyze; analyze({str(run)!r})"
    other = subprocess.Popen([sys.executable, "-c", program])
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait() == 0
    assert all(one.series.identical(found[0].series) for one in found)
    shutil.rmtree(run / "analysis.zarr", ignore_errors=True)
    assert analyze(run).series.identical(found[0].series)
    assert not list(run.glob("*.partial"))


def test_what_other_code_has_left_is_made_anew(
    run: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze(run)
    monkeypatch.setattr(module, "measuring_digest", lambda: "another")
    analyze(run)
    assert len(measured) == 2
    analyze(run)
    assert len(measured) == 2
