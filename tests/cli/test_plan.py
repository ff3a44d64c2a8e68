"""embevo plan."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


def test_a_small_run_fits(invoke: Any, tmp_path: Path) -> None:
    result = invoke("plan", "--shape", "128x64", "--steps", 5000, "--rate", 30, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "embeddings bfloat16: 128 x 64, 5,001 times" in result.output
    assert result.output.endswith("It fits.\n")
    assert list(tmp_path.iterdir()) == []


def test_gradients_and_moments_are_recorded_too(invoke: Any) -> None:
    options = ("--gradient", "--optimizer", "--optimizer-dtype", "float32")
    result = invoke("plan", "--shape", "128X64", "--steps", 10, "--rate", 1, *options)
    assert "exp_avg float32, exp_avg_sq float32, embeddings bfloat16, gradient bfloat16" in result.output


def test_a_run_that_cannot_fit_is_refused_with_what_to_do(invoke: Any) -> None:
    result = invoke("plan", "--shape", "151936x2560", "--steps", 10**9, "--rate", 1)
    assert result.exit_code == 1
    assert "Does not fit: The run may take" in result.output
    assert "Record every n-th step" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shape", "128", "--steps", 1, "--rate", 1), "'128' is not TOKENSxDIM"),
        (("--shape", "0x64", "--steps", 1, "--rate", 1), "'0x64' is not TOKENSxDIM"),
        (("--shape", "2x2", "--steps", 0, "--rate", 1), "--steps"),
        (("--shape", "2x2", "--steps", 1, "--rate", 0), "--rate"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--optimizer-dtype", "float32"), "--optimizer"),
    ],
)
def test_wrong_input(invoke: Any, arguments: tuple[object, ...], message: str) -> None:
    result = invoke("plan", *arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_file_system_with_few_inodes(invoke: Any, tmp_path: Path) -> None:
    mounted = tmp_path / "few"
    mounted.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", "size=256m,nr_inodes=300", "none", mounted]
    if subprocess.run(made, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        arguments = ("plan", "--shape", "128x64", "--rate", 100, "--out", mounted / "run")
        result = invoke(*arguments, "--steps", 1000)
        assert result.exit_code == 1
        assert "the file system has 299 left (df -i)" in result.stderr
        assert "in memory and 299 files" in result.stdout
        assert invoke(*arguments, "--steps", 100).exit_code == 0
        assert invoke(*arguments, "--steps", 1000, "--store", "zarr").exit_code == 0
    finally:
        subprocess.run(["umount", mounted], check=True)
