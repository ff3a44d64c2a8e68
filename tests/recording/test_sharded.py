"""Matrices that are divided among processes: recorded where they lie, and read as one."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import xarray
import zarr

from embevo import open_run
from embevo.run.exchange.exporting import export_snapshots
from embevo.run.reading.summary import summarize
from embevo.run.repair.recovery import recover
from embevo.run.repair.rewinding import rewind_to
from embevo.run.repair.verification import verify
from support.interpreters import interpreter
from support.torchrun import torchrun

CASES = (
    "fsdp",
    "fsdp-bfloat16",
    "empty",
    "rows",
    "columns",
    "hybrid",
    "rows-and-fsdp",
    "columns-and-fsdp",
    "replicated",
)
NAMES = ("embeddings", "embeddings.grad", "embeddings.exp_avg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    done = torchrun(4, folder, *CASES)
    assert done.returncode == 0, done.stderr
    return folder


def same(found: Any, expected: Any) -> bool:
    """Whether two arrays have the same bits."""
    first, second = np.asarray(found, np.float32), np.asarray(expected, np.float32)
    return first.shape == second.shape and bool(
        ((first.view(np.uint32) == second.view(np.uint32)) | (np.isnan(first) & np.isnan(second))).all()
    )


@pytest.mark.parametrize("case", CASES)
def test_every_reader_finds_what_full_tensor_was(folder: Path, case: str) -> None:
    path = folder / case
    seen = np.load(folder / f"{case}.npz")
    group = zarr.open_group(path / "trajectory.zarr", mode="r")
    run = open_run(path)
    dataset = xarray.open_zarr(path / "trajectory.zarr", chunks=None)
    assert run.steps.tolist() == np.asarray(group["step"][:]).tolist() == list(range(7))
    for name in NAMES:
        assert same(np.asarray(group[name][:]), seen[name]), name
        assert same(run[name][:], seen[name]), name
        assert same(run[name][::-2, 1:4], seen[name][::-2, 1:4]), name
        assert same(dataset[name].values, seen[name]), name
        assert same(run.to_xarray()[name].values, seen[name]), name
    assert np.asarray(group["loss"][1:]).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize("case", CASES)
def test_all_of_it_is_verified(folder: Path, case: str) -> None:
    found = verify(folder / case, deep=True)
    assert (found.problems, found.notes) == ([], [])
    assert found.compared_steps >= 7
    assert summarize(folder / case).state == "complete"


def test_steps_are_exported_whole(folder: Path, tmp_path: Path) -> None:
    export_snapshots(open_run(folder / "columns"), tmp_path / "files", range(7))
    seen = np.load(folder / "columns.npz")
    saved = safetensors.numpy.load_file(tmp_path / "files" / "step_0000004.safetensors")
    assert all(same(saved[name], seen[name][4]) for name in NAMES)


def test_each_process_records_its_own_pieces(folder: Path) -> None:
    def shapes(case: str) -> list[tuple[int, ...]]:
        return [open_run(path).frame.by_name["embeddings"].shape for path in ranks(folder / case)]

    assert shapes("fsdp") == [(26, 8), (26, 8), (26, 8), (23, 8)]
    assert shapes("empty") == [(2, 8), (2, 8), (1, 8)]
    assert shapes("columns") == [(21, 3), (21, 3), (21, 3), (21, 1)]
    assert shapes("hybrid") == [(51, 8), (50, 8)]
    assert not ranks(folder / "replicated")


def ranks(path: Path) -> list[Path]:
    return sorted(found for found in (path / "ranks").glob("*") if found.is_dir())


def test_a_file_of_the_whole_is_that_of_a_process(folder: Path) -> None:
    whole = folder / "fsdp" / "trajectory.zarr" / "embeddings" / "c.1.2.0"
    own = ranks(folder / "fsdp")[2] / "trajectory.zarr" / "embeddings" / "c.1.0.0"
    assert whole.samefile(own)


def test_a_bit_that_flips_is_named_by_verify(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    subprocess.run(["cp", "-r", str(folder / "fsdp"), str(path)], check=True)
    chunk = path / "trajectory.zarr" / "embeddings" / "c.1.2.0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    assert [problem.file for problem in verify(path).problems] == ["trajectory.zarr/embeddings/c.1.2.0"]
    assert not verify(path).ok
    done = recover(path)
    assert done.rebuilt == ["trajectory.zarr/embeddings/c.1.2.0"]
    assert verify(path, deep=True).ok


KILLED = {
    "one process": (2, {"1": 4}),
    "the one that joins": (2, {"0": 5}),
    "all, at several steps": (4, {"0": 5, "1": 4, "2": 6, "3": 5}),
}


@pytest.mark.parametrize("who", list(KILLED))
def test_what_all_had_captured_outlives_a_kill(tmp_path: Path, who: str) -> None:
    processes, killed = KILLED[who]
    options: dict[str, Any] = {}
    assert torchrun(processes, tmp_path, "fsdp", killed=killed).returncode != 0
    path = tmp_path / "fsdp"
    rows = [open_run(own).steps.tolist() for own in ranks(path)]
    common = min(rows, key=len)
    assert len(common) >= min(killed.values()) + 1
    assert open_run(path).steps.tolist() == common
    done = recover(path)
    assert open_run(path).steps.tolist() == common
    assert len(done.ahead) == sum(len(steps) > len(common) for steps in rows)
    assert verify(path, deep=True).problems == []
    if processes == 4:
        refused = torchrun(2, tmp_path, "fsdp", resume=True)
        assert "was begun by 4 processes" in refused.stderr
    if who == "one process":
        # What one process has is not here, or not all of it.
        own = ranks(path)[1]
        own.rename(tmp_path / "aside")
        refused = torchrun(2, tmp_path, "fsdp", resume=True)
        assert f"{own} is not there or holds no step, and the whole run has steps up to 4" in refused.stderr
        shutil.rmtree(own, ignore_errors=True)
        (tmp_path / "aside").rename(own)
        rewind_to(own, 2)
        refused = torchrun(2, tmp_path, "fsdp", resume=True)
        assert f"{own} ends with step 2, " in refused.stderr
        options["rewind_to"] = 2
    resumed = torchrun(processes, tmp_path, "fsdp", resume=True, **options)
    assert resumed.returncode == 0, resumed.stderr
    assert verify(path, deep=True).problems == []
    seen = np.load(tmp_path / "fsdp.npz")
    run = open_run(path)
    assert run.steps.tolist() == list(range(7))
    assert all(same(run[name][:], seen[name]) for name in NAMES)


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
    ((code, command),) = re.findall(
        r"<!-- test: fsdp -->\n```python\n(.*?)```\n\n```sh\ntorchrun (.*?)\n```", page, re.DOTALL
    )
    (tmp_path / "train.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [interpreter(), "-m", "torch.distributed.run", "--standalone", *command.split()],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON_EXEC": interpreter()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (printed,) = re.findall(r"^    print\(.*# (.*)$", code, re.MULTILINE)
    assert printed in done.stdout
