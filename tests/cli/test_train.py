import os
import signal
import subprocess
import time
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from embevo_cli.train import train

from embevo import open_run, verify
from embevo.errors import ConfigError
from embevo.experiment.config import ExperimentConfig
from support.interpreters import interpreter

SMALL = [
    "--dim",
    "16",
    "--layers",
    "1",
    "--context",
    "16",
    "--batch",
    "4",
    "--steps",
    "12",
    "--device",
    "cpu",
]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(train, [str(argument) for argument in arguments], catch_exceptions=False)


def test_every_setting_is_an_option_with_help_and_default() -> None:
    text = " ".join(run("--help").output.split())
    for setting in fields(ExperimentConfig):
        assert f"--{setting.name.replace('_', '-')}" in text
        default = "no" if setting.default is False else setting.default
        # Long lines break within words at hyphens.
        assert f"[default:{default}]".replace("-", "") in text.replace("default: ", "default:").replace(
            "- ", "-"
        ).replace("-", "")


def test_the_summary_says_what_there_is_and_what_to_do_next(tmp_path: Path) -> None:
    out = tmp_path / "r"
    result = run(*SMALL, "--out", out)
    assert result.exit_code == 0
    assert open_run(out).steps.tolist() == list(range(13))
    for expected in (
        "Device   ",
        "79 live and 49 dead token ids",
        "Steps     0 to 12 of 12: complete",
        "13 matrices of 128 x 16, bfloat16",
        "trajectory.zarr: ",
        "snapshots: ",
        "p50 ",
        "Waited",
        "Deferred",
        "step 0       step 12\n",
        "\ndistinct vectors                 1 ",
        "The centroid moved by 0.",
        "Dead tokens: 49 of 128 (38.3 %); 1 distinct at first, ",
        "In bfloat16 arithmetic these would seem not to have moved: ",
        f"embevo info {out}",
        f"embevo verify {out}",
    ):
        assert expected in result.output
    command = next(line for line in result.output.splitlines() if "zarr.open(" in line).strip()
    printed = subprocess.run(
        command,
        shell=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.startswith("[[")
    assert printed.stderr == ""


def test_a_run_is_compacted_when_that_is_asked_for_and_else_offered_where_it_pays(tmp_path: Path) -> None:
    plain, small = tmp_path / "plain", tmp_path / "small"
    assert "embevo compact" not in run(*SMALL, "--out", plain, "--effort", "small").output
    result = run(*SMALL, "--out", small, "--compact")
    assert "Compacted: " in result.output
    assert (open_run(plain).compacted_rows, open_run(small).compacted_rows) == (0, 13)
    assert verify(small, deep=True).ok
    light = run(*SMALL, "--out", tmp_path / "light", "--effort", "fast")
    assert "Little effort was spent on size" in light.output
    assert f"compact {tmp_path / 'light'}" in light.output
    assert open_run(tmp_path / "light").compacted_rows == 0
    refused = run(*SMALL, "--out", tmp_path / "files", "--store", "safetensors", "--compact")
    assert refused.exit_code == 2
    assert "safetensors files are not compressed" in refused.output
    assert not (tmp_path / "files").exists()


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    assert run(*SMALL, "--out", tmp_path / "r", "--quiet").output == ""


def test_config_file_with_options_over_it_and_back(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('init = "normal"\nseed = 7\nsteps = 99\nstore = "safetensors"\n')
    result = run("--config", file, *SMALL, "--out", tmp_path / "r")
    assert "embevo.open_run(" in result.output
    stored = open_run(tmp_path / "r").config
    assert (stored["init"], stored["seed"], stored["steps"], stored["dim"]) == ("normal", 7, 12, 16)
    run("--config", tmp_path / "r", "--out", tmp_path / "again", "--quiet")
    assert open_run(tmp_path / "again").config == stored
    written = tmp_path / "stored.toml"
    written.write_text(ExperimentConfig.from_mapping(stored).to_toml())
    assert tomllib.loads(written.read_text()) == stored
    run("--config", written, "--out", tmp_path / "third", "--quiet")
    first, third = (sorted((tmp_path / name / "snapshots").iterdir()) for name in ("r", "third"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in third]


def test_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(*SMALL, "--init", "normal", "--dtype", "float32", "--seed", "9", "--quiet")
    assert open_run("runs/normal-float32-seed9").steps[-1] == 12


def test_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "r"
    file = tmp_path / "c.toml"
    file.write_text("stpes = 3\n")
    with pytest.raises(ConfigError, match="did you mean steps"):
        run("--config", file, "--out", out)
    with pytest.raises(ConfigError, match="steps is 0"):
        run("--steps", "0", "--out", out)
    assert "is not one of 128, 256" in run("--vocab-size", "64", "--out", out).output
    assert run("--init", "zeros", "--out", out).exit_code == 2
    result = run("--resume", out, "--overwrite")
    assert result.exit_code == 2
    assert "leave out --config, --out, --overwrite" in result.output
    assert not out.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_and_resumed(tmp_path: Path, number: signal.Signals, code: int) -> None:
    out = tmp_path / "r"
    settings = [*SMALL[:-4], "--steps", "100000", "--device", "cpu", "--out", str(out)]
    command = [interpreter(), "-c", "from embevo_cli.train import train; train()", *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "journal").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "of 100,000: interrupted" in output
    assert f"embevo train --resume {out}" in output
    run_ = open_run(out)
    assert not (out / "journal").exists()
    assert run_.steps.tolist() == list(range(len(run_.steps)))
