"""Every command on a run of the experiment that records arrays of several shapes, and tokens by choice."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo

from embevo import open_run
from embevo.experiment.arrays import ARRAYS
from embevo.run.reading.reader import Run
from support.interpreters import interpreter

KEYS = list(ARRAYS.values())
SMALL = ("--dim", 16, "--layers", 1, "--context", 16, "--batch", 4, "--steps", 24, "--device", "cpu")
EVERYTHING = ("--record", ",".join(ARRAYS), "--checkpoint-every", 10)
# Trains as the command line says, and dies without a word after step 13.
DIES = """
import os, signal, sys
from embevo.recording.recorder import Recorder
from embevo_cli.main import main
capture = Recorder.capture
def capturing(recorder, step, *args, **kwargs):
    capture(recorder, step, *args, **kwargs)
    if step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
Recorder.capture = capturing
main()
"""


@pytest.fixture(scope="module", params=["all", "dead,a-z"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all arrays; of all tokens, or of some."""
    out = tmp_path_factory.mktemp("many") / "run"
    words = ["train", *SMALL, *EVERYTHING, "--tokens", request.param, "--out", out, "--quiet"]
    result = CliRunner().invoke(embevo, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def same_values(one: Run, other: Run, rows: int | None = None) -> bool:
    return all(np.array_equal(one[key][:rows], other[key][:rows], equal_nan=True) for key in KEYS)


def test_it_is_shown_listed_and_verified(invoke: Any, trained: Path) -> None:
    shown = invoke("info", "--all", trained)
    assert shown.exit_code == 0
    assert all(f"\n{key} " in shown.output for key in KEYS)
    assert invoke("ls", trained.parent).exit_code == 0
    verified = invoke("verify", "--deep", trained)
    assert verified.exit_code == 0, verified.output
    assert "Values     25 steps decoded and compared bit for bit" in verified.output
    assert "in order" in invoke("recover", trained).output


def test_it_is_measured_drawn_and_reported(invoke: Any, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    drawn = tmp_path / "figures"
    for matrix in ([], ["--matrix", "embeddings.grad"], ["--matrix", "embeddings.exp_avg_sq"]):
        result = invoke("analyze", run, *matrix)
        assert result.exit_code == 0, result.output
        name = matrix[1] if matrix else "embeddings"
        assert f"\n{name}, " in result.output
        # All are drawn by the same code; drawing takes long.
        if name == "embeddings.exp_avg_sq":
            page = tmp_path / f"{name}.html"
            assert invoke("report", run, *matrix, "-o", page).exit_code == 0
            assert name in page.read_text()
        if name == "embeddings.grad":
            assert invoke("figures", run, *matrix, "--out", drawn).exit_code == 0
    assert list(drawn.iterdir())


@pytest.mark.parametrize(
    ("command", "name"),
    [(("analyze",), "logits"), (("report", "-o", "page.html"), "hidden_mean"), (("figures",), "logits")],
)
def test_what_is_no_matrix_is_named_with_its_shape(
    trained: Path, command: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    words = [command[0], str(trained), "--matrix", name, *command[1:]]
    program = "from embevo_cli.main import main; main()"
    refused = subprocess.run(
        [interpreter(), "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    shape = open_run(trained).frame.by_name[name].shape
    assert f"{name} of {trained} is float32 of shape {shape}" in refused.stderr
    assert "its matrices are embeddings, embeddings.exp_avg, embeddings.exp_avg_sq" in refused.stderr
    assert "Traceback" not in refused.stderr


def split(image: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what comes after it."""
    length = 8 + int.from_bytes(image[:8], "little")
    return json.loads(image[8:length]), image[length:]


def test_it_goes_to_files_and_back_bit_for_bit(invoke: Any, trained: Path, tmp_path: Path) -> None:
    assert invoke("export-safetensors", trained, "--out", tmp_path / "files").exit_code == 0
    snapshots = sorted((trained / "snapshots").iterdir())
    for exported in sorted((tmp_path / "files").glob("step_*.safetensors")):
        snapshot = (trained / "snapshots" / exported.name).read_bytes()
        if open_run(trained).frame.tokens is None:
            assert exported.read_bytes() == snapshot
        # Files of some tokens say which, beside the same arrays.
        (header, data), (expected, bits) = map(split, (exported.read_bytes(), snapshot))
        assert data == bits
        assert header.keys() - {"__metadata__"} == expected.keys() - {"__metadata__"}
    keys = [word for key in KEYS for word in ("--key", key)]
    assert invoke("import-safetensors", tmp_path / "files", "--out", tmp_path / "back", *keys).exit_code == 0
    back = open_run(tmp_path / "back")
    assert len(back.steps) == len(snapshots) == 25
    assert same_values(back, open_run(trained))
    assert invoke("verify", "--deep", tmp_path / "back").exit_code == 0


def test_killed_it_is_recovered_merged_and_resumed(invoke: Any, trained: Path, tmp_path: Path) -> None:
    tokens = open_run(trained).config.get("tokens", "all")
    words = ["train", *SMALL, *EVERYTHING, "--tokens", tokens, "--out", tmp_path / "run", "--quiet"]
    died = subprocess.run([interpreter(), "-c", DIES, *map(str, words)], check=False)
    assert died.returncode == -signal.SIGKILL
    shutil.copytree(tmp_path / "run", tmp_path / "piece")
    assert "Sealed 14 steps" in invoke("recover", tmp_path / "piece").output
    whole, piece = open_run(trained), open_run(tmp_path / "piece")
    assert piece.frame == whole.frame
    assert same_values(piece, whole, rows=14)
    assert invoke("merge", tmp_path / "piece", trained, "--out", tmp_path / "merged").exit_code == 0
    assert same_values(open_run(tmp_path / "merged"), whole)
    assert invoke("verify", "--deep", tmp_path / "merged").exit_code == 0
    assert invoke("train", "--resume", tmp_path / "run", "--quiet").exit_code == 0
    assert same_values(open_run(tmp_path / "run"), whole)
    assert invoke("verify", "--deep", tmp_path / "run").exit_code == 0


def test_what_was_recorded_is_said_at_the_end(invoke: Any, tmp_path: Path) -> None:
    told = invoke("train", *SMALL, "--record", "weights,logits", "--tokens", "a,b", "--out", tmp_path / "run")
    assert (
        "25 steps of embeddings, logits; the matrix is 128 x 16, bfloat16, of it the tokens a,b"
        in told.output
    )
    assert "distinct vectors" in told.output


def test_one_way_of_naming_steps_replaces_that_of_a_run(invoke: Any, tmp_path: Path) -> None:
    sparse = ("train", *SMALL, "--schedule", "log:3", "--quiet", "--out")
    assert invoke(*sparse, tmp_path / "a").exit_code == 0
    again = ("train", "--config", tmp_path / "a", "--every", 12, "--quiet", "--out", tmp_path / "b")
    assert invoke(*again).exit_code == 0
    assert open_run(tmp_path / "a").steps.tolist() == [0, 1, 2, 5, 10, 22, 24]
    assert open_run(tmp_path / "b").steps.tolist() == [0, 12, 24]
    assert invoke("verify", tmp_path / "a").output.count("missing") == 0
