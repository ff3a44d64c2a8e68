"""Where a run is: where the path that was given led when it was given."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import TrainerControl, TrainingArguments

from embevo import Recorder, open_run
from embevo.analysis.analyze import analyze
from embevo.analysis.figures.saving import save_figures
from embevo.errors import ArgumentError, CreationError, EmbevoError, NotARunError
from embevo.recording.adapters.trainer_callback import RecordEmbeddings
from embevo.run.exchange.exporting import export_snapshots, export_stacked
from embevo.run.exchange.importing import import_snapshots, inspect_folder
from embevo.run.paths import snapshot_steps
from embevo.run.reading.reader import Run
from embevo.run.reading.summary import find_runs, summarize
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support.faults.oracle import tree

STEPS = 9
# What makes the relative path lead elsewhere, between giving it and using it.
Move = Callable[[], None]


def ones() -> torch.Tensor:
    return torch.ones(6, 3)


def fill(recorder: Recorder, first: int = 0, stop: int = STEPS) -> None:
    for step in range(first, stop):
        recorder.capture(step)


def matrices(run: Run) -> NDArray[Any]:
    return np.asarray(run["embeddings"][:])


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories, each with a run of the same name: ones in the first, zeros in the second."""
    for name, values in (("here", ones()), ("there", ones() * 0)):
        (tmp_path / name).mkdir()
        with Recorder(tmp_path / name / "run", {"embeddings": values}, block_steps=4) as recorder:
            fill(recorder)
    return tmp_path / "here", tmp_path / "there"


def recording(name: str, move: Move) -> None:
    with Recorder(name, {"embeddings": ones()}, block_steps=4, overwrite=True) as recorder:
        move()
        fill(recorder)
    assert len(open_run(recorder.paths.root).steps) == STEPS


def resuming(name: str, move: Move) -> None:
    with Recorder(name, {"embeddings": ones()}, resume=True) as recorder:
        move()
        fill(recorder, stop=STEPS + 4)
    assert len(open_run(recorder.paths.root).steps) == STEPS + 4


def training(name: str, move: Move) -> None:
    callback = RecordEmbeddings(name, block_steps=4, overwrite=True)
    move()
    layer = torch.nn.Embedding.from_pretrained(ones())
    model: Any = torch.nn.Sequential(layer)
    model.get_input_embeddings = lambda: layer
    now: Any = SimpleNamespace(is_world_process_zero=True, global_step=0)
    arguments, nothing = TrainingArguments("checkpoints", report_to=[]), TrainerControl()
    callback.on_train_begin(arguments, now, nothing, model=model)
    callback.on_train_end(arguments, now, nothing)


def reading(name: str, move: Move) -> None:
    run = open_run(name)
    move()
    assert (matrices(run) == 1).all()
    run.refresh()
    assert (matrices(run) == 1).all()


def reading_the_tail(name: str, move: Move) -> None:
    with Recorder(name, {"embeddings": ones()}, block_steps=4, overwrite=True) as recorder:
        fill(recorder, stop=STEPS - 1)
        recorder.capture(STEPS - 1)
        run = open_run(name)
        move()
        recorder.flush()
    # Rows that were in the journal when the run was opened, and are in a block now.
    assert (matrices(run) == 1).all()


def analysing(name: str, move: Move) -> None:
    run = open_run(name)
    move()
    found = analyze(run)
    (saved,) = save_figures(found, found.run_path / "figures", "svg", ["displacement"])
    assert saved.path is None or saved.path.parent == found.run_path / "figures"


def exporting(name: str, move: Move) -> None:
    run, out = open_run(name), f"{name}-out"
    rows = list(range(STEPS))
    files = export_snapshots(run, out, rows, on_step=lambda _: move())
    assert len(snapshot_steps(files[0].parent)) == STEPS
    os.chdir(files[0].parent.parent)
    stacked = export_stacked(run, out, rows, on_step=lambda _: move())
    assert stacked.parent == files[0].parent


def importing(name: str, move: Move) -> None:
    folder = inspect_folder(f"{name}/snapshots")
    place = Path.cwd()
    import_snapshots(folder, f"{name}-imported", on_step=lambda _: move())
    move()
    assert (matrices(open_run(place / f"{name}-imported")) == 1).all()
    again = place / f"{name}-again"
    import_snapshots(folder, again)
    assert (matrices(open_run(again)) == 1).all()


def looking(name: str, move: Move) -> None:
    found = [verify(name).path, recover(name).path, Path(summarize(name).path)]
    listed = [Path(run.path) for run in find_runs(".", depth=1)]
    place = Path.cwd()
    move()
    assert {*found, *listed} == {place / name}


USES = (
    recording,
    resuming,
    training,
    reading,
    reading_the_tail,
    analysing,
    exporting,
    importing,
    looking,
)


@pytest.mark.parametrize("use", USES)
def test_changing_the_working_directory_changes_no_run(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, use: Callable[[str, Move], None]
) -> None:
    here, there = places
    before = tree(there)
    monkeypatch.chdir(here)
    use("run", lambda: os.chdir(there))
    monkeypatch.chdir(there)
    assert tree(there) == before


@pytest.mark.parametrize("use", [recording, resuming, reading, reading_the_tail, analysing])
def test_a_link_that_is_made_to_point_elsewhere_changes_no_run(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, use: Callable[[str, Move], None]
) -> None:
    here, there = places
    before = tree(there)
    latest = here.parent / "latest"
    latest.symlink_to(here / "run")
    monkeypatch.chdir(here.parent)

    def move() -> None:
        latest.unlink()
        latest.symlink_to(there / "run")

    use("latest", move)
    assert tree(there) == before


@pytest.mark.parametrize("path", ["", "a\0b", b"run", 7, None, ["run"]])
def test_what_is_no_path_is_refused_by_name(path: Any) -> None:
    for call in (open_run, verify, recover, summarize, inspect_folder, lambda p: Recorder(p, {"e": ones()})):
        with pytest.raises(ArgumentError, match=r"path|names no file"):
            call(path)


@pytest.mark.parametrize("path", ["n" * 300, "/".join(["n" * 200] * 40)])
def test_a_path_that_is_too_long_is_said_to_be(path: str) -> None:
    for call in (open_run, verify, recover, summarize, lambda p: Recorder(p, {"e": ones()}, resume="auto")):
        with pytest.raises(ArgumentError, match="too long a path"):
            call(path)


def test_a_relative_path_needs_a_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ArgumentError, match="run is a relative path, and the working directory is gone"):
        Recorder("run", {"embeddings": ones()})
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("above", ["", "deeper/run"])
def test_a_link_into_nothing_is_not_followed(tmp_path: Path, above: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    path = tmp_path / "link" / above
    with pytest.raises(CreationError, match=r"/link is a symbolic link to .*/scratch, and there is nothing"):
        Recorder(path, {"embeddings": ones()})
    with pytest.raises(NotARunError):
        open_run(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link"]
    (tmp_path / "scratch").mkdir()
    Recorder(path, {"embeddings": ones()}).close()
    assert (tmp_path / "scratch" / above / "manifest").is_file()


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for call in (open_run, lambda path: Recorder(path, {"embeddings": ones()})):
        with pytest.raises(EmbevoError, match="link"):
            call(tmp_path / "link")
