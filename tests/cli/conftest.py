"""The command line in this process, and in one of its own."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result
from embevo_cli.main import embevo

Invoke: TypeAlias = Callable[..., Result]


@pytest.fixture
def invoke() -> Invoke:
    """Run a command in this process; an exception that it lets through is the test's."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(embevo, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str, Sequence[object]], str]:
    """Run a program in a process of its own, and return what it prints."""

    def run(program: str, arguments: Sequence[object] = ()) -> str:
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
