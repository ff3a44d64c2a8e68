"""What every command has in common: what it loads, and what becomes of errors."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from embevo_cli.main import COMMANDS, embevo

from embevo.errors import EmbevoError
from support import written

EMBEVO = Path(sys.executable).with_name("embevo")
# Each argument is a command, a line a word.
RUN_EACH = """
import sys
from embevo_cli.main import embevo
for command in sys.argv[1:]:
    embevo(command.split("\\n"), standalone_mode=False)
    loaded = {"torch", "transformers", "embevo.recording"} & set(sys.modules)
    assert not loaded, (command, loaded)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(invoke: Any, name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert f"embevo {name}" in result.output
    assert name in invoke("--help").output


def test_looking_and_moving_do_not_load_torch(python: Any, tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=4).path
    commands = [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["info", run],
        ["ls", tmp_path],
        ["export-safetensors", run, "--out", tmp_path / "out"],
        ["import-safetensors", tmp_path / "out", "--out", tmp_path / "again"],
    ]
    python(RUN_EACH, ["\n".join(map(str, command)) for command in commands])


def test_an_unknown_command_is_refused(invoke: Any) -> None:
    result = invoke("sing")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_an_error_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    result = subprocess.run(
        [EMBEVO, "info", tmp_path / "nowhere"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"Error: {tmp_path / 'nowhere'} is not a run: there is no such directory\n"


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Any:
    """What comes of a command that raises."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(embevo, "get_command", lambda ctx, name: command)  # noqa: ARG005
    return CliRunner().invoke(embevo, ["any"])


def test_notes_are_printed_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    error = EmbevoError("it went wrong")
    error.add_note("mend it")
    result = raising(monkeypatch, error)
    assert (result.exit_code, result.stderr) == (2, "Error: it went wrong\nmend it\n")


def test_an_error_of_the_disk_names_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    result = raising(monkeypatch, OSError(28, "No space left on device", "/full/file"))
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: /full/file: No space left on device. Make room there, of bytes (df -h) and of files (df -i), "
        "and give the same command again.\n"
    )
    result = raising(monkeypatch, OSError(30, "Read-only file system", "/fixed/file"))
    assert result.stderr.startswith(
        "Error: /fixed/file: Read-only file system. Nothing can be written there: "
    )
    result = raising(monkeypatch, OSError(5, "Input/output error", "/broken/file"))
    assert result.stderr == "Error: /broken/file: Input/output error\n"


def test_an_error_of_our_own_making_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ZeroDivisionError()
    assert raising(monkeypatch, error).exception is error


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    result = raising(monkeypatch, KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


@pytest.mark.parametrize("arguments", [["ls", "--json"], ["ls"], ["--help"]])
def test_a_closed_pipe_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    written.write_run(tmp_path / "run", rows=2, sealed=2)
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [EMBEVO, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False, cwd=tmp_path
    )
    os.close(writer)
    assert result.stderr == b""
