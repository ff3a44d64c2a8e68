"""What else may be in a run directory, or in the way to it: links, and what systems leave everywhere."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embevo import Recorder, open_run
from embevo.errors import DamagedError, EmbevoError, RunExistsError
from embevo.run.paths import RunPaths, snapshot_steps
from embevo.run.reading.summary import find_runs
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support.faults.oracle import tree

WEIGHT = torch.ones(6, 3)
LITTER = (
    ".DS_Store",
    "._snapshots",
    "._step_0000001.safetensors.partial",
    ".nfs0000000004c2a1b500000001",
    "lost+found",
    ".ipynb_checkpoints",
    "Thumbs.db",
    "@eaDir",
    ".snapshot",
)


# Twelve in Arabic-Indic digits, three in full-width ones, four in Devanagari after zeros, superscripts.
DIGITS = ("\u0660" * 5 + "\u0661\u0662", "\uff10" * 6 + "\uff13", "0000\u0966\u0966\u096a", "\u00b2" * 7)


def record(path: Path, steps: int = 10, **options: Any) -> None:
    with Recorder(path, {"embeddings": WEIGHT}, block_steps=4, **options) as recorder:
        for step in range(steps):
            recorder.capture(step)


def strew(directory: Path) -> dict[str, str]:
    """Litter of every kind, directories with a run's names in them where they are directories."""
    for name in LITTER:
        if name in {"lost+found", ".ipynb_checkpoints", "@eaDir", ".snapshot"}:
            (directory / name / "snapshots").mkdir(parents=True)
            (directory / name / "snapshots" / "step_0000003.safetensors.partial").write_bytes(b"?")
        else:
            (directory / name).write_bytes(b"?")
    return {name: digest for name, digest in tree(directory).items() if name.split("/")[0] in LITTER}


def test_litter_neither_hinders_a_run_nor_is_damage_nor_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    litter = strew(path)
    record(path)
    inside = [path / "snapshots", path / "trajectory.zarr", path / "trajectory.zarr" / "embeddings"]
    for directory in inside:
        strew(directory)
    before = tree(path)
    checked = verify(path, deep=True)
    assert checked.ok, checked.problems
    assert not checked.notes
    done = recover(path)
    assert not done.removed
    assert tree(path) == before
    record(path, 12, resume=True)
    assert [found.path for found in find_runs(tmp_path, depth=3)] == [str(path)]
    record(path, 3, overwrite=True)
    assert open_run(path).steps.tolist() == [0, 1, 2]
    after = tree(path)
    assert {name: after[name] for name in litter} == litter


def test_unfinished_writes_are_removed_from_the_run_and_from_nowhere_else(tmp_path: Path) -> None:
    record(tmp_path)
    for place in ("downloads", "snapshots", "trajectory.zarr/step"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "model.partial").write_bytes(b"?")
    assert {problem.file for problem in verify(tmp_path).problems} == {
        "snapshots/model.partial",
        "trajectory.zarr/step/model.partial",
    }
    assert set(recover(tmp_path).removed) == {"snapshots/model.partial", "trajectory.zarr/step/model.partial"}
    assert (tmp_path / "downloads" / "model.partial").exists()
    assert verify(tmp_path).ok


@pytest.mark.parametrize("digits", DIGITS)
def test_digits_of_other_scripts_number_no_step(tmp_path: Path, digits: str) -> None:
    record(tmp_path)
    stranger = tmp_path / "snapshots" / f"step_{digits}.safetensors"
    stranger.write_bytes(b"?")
    assert snapshot_steps(tmp_path / "snapshots") == list(range(10))
    recover(tmp_path)
    assert stranger.exists()


def linked(tmp_path: Path, part: str) -> Path:
    """A run of which one part lies elsewhere, and is linked to."""
    path = tmp_path / "run"
    record(path)
    (path / "checkpoints").mkdir(exist_ok=True)
    (path / "checkpoints" / "mine").write_text("mine")
    if part == "journal":
        (path / "journal").write_bytes(b"")
    (tmp_path / "scratch").mkdir()
    shutil.move(path / part, tmp_path / "scratch" / part)
    (path / part).symlink_to(tmp_path / "scratch" / part)
    return path


PARTS = ("snapshots", "trajectory.zarr", "manifest", "checkpoints", "journal")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "write",
    [
        lambda path: record(path, overwrite=True),
        lambda path: record(path, resume=True),
        recover,
    ],
    ids=["overwrite", "resume", "recover"],
)
def test_a_part_that_is_a_link_is_neither_written_nor_deleted_through(
    tmp_path: Path, part: str, write: Callable[[Path], object]
) -> None:
    path = linked(tmp_path, part)
    before = tree(tmp_path)
    with pytest.raises(
        EmbevoError, match=rf"{part} is a symbolic link to .*scratch/{part}, and embevo neither"
    ) as no:
        write(path)
    assert isinstance(no.value, DamagedError | RunExistsError)
    assert (path / part).is_symlink()
    assert tree(tmp_path) == before
    if part == "journal":
        return
    assert open_run(path).steps.tolist() == list(range(10))
    # What the message says to do helps.
    (path / part).unlink()
    shutil.move(tmp_path / "scratch" / part, path / part)
    write(path)
    assert len(open_run(path).steps) == 10


@pytest.mark.parametrize("part", PARTS)
def test_a_link_into_nothing_in_the_place_of_a_part_is_refused_too(tmp_path: Path, part: str) -> None:
    record(tmp_path / "run")
    place = tmp_path / "run" / part
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / "nowhere")
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(EmbevoError):
            record(tmp_path / "run", **options)
    assert place.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_run_directory_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    record(tmp_path / "run")
    record(tmp_path / "run", 12, resume=True)
    recover(tmp_path / "run")
    record(tmp_path / "run", 5, overwrite=True)
    assert verify(tmp_path / "run", deep=True).ok
    assert (tmp_path / "run").is_symlink()
    assert open_run(tmp_path / "scratch").steps.tolist() == list(range(5))


@pytest.mark.parametrize("name", ["snapshots", "trajectory.zarr"])
def test_a_link_that_was_put_there_before_the_run_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "scratch")
    with pytest.raises(RunExistsError, match=f"already holds {name}"):
        record(tmp_path / "run")
    assert not list((tmp_path / "scratch").iterdir())


def test_a_new_run_that_was_never_finished_can_be_recorded_into_without_overwriting(tmp_path: Path) -> None:
    staged = RunPaths(tmp_path).staged
    staged.mkdir()
    (staged / "journal").write_bytes(b"EMBEVO-J")
    with pytest.raises(EmbevoError, match="creation was interrupted before anything was captured"):
        open_run(tmp_path)
    assert not list(find_runs(tmp_path, depth=3))
    record(tmp_path)
    assert len(open_run(tmp_path).steps) == 10
    assert not staged.exists()
