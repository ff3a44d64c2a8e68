"""What becomes of the output: terminals that lack the characters, full disks, pipes that close, odd names."""

import errno
import io
import json
import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from embevo_cli import progress
from embevo_cli.main import COMMANDS
from embevo_cli.readable import command_line
from embevo_cli.train import train
from embevo_cli.training_progress import Lines
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from embevo import open_run
from embevo.run.repair.verification import verify
from support import written
from support.commands import each
from support.interpreters import interpreter

EMBEVO = Path(sys.executable).with_name("embevo")
SMALL = ["--dim", "16", "--layers", "1", "--context", "16", "--batch", "4", "--device", "cpu"]
NARROW = [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
LOOKING = [["info"], ["info", "--json"], ["verify"], ["recover"], ["ls"], ["ls", "--json"], ["analyze"]]


def embevo(
    *arguments: object, cwd: Path, shell: str = "", fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; ``shell`` follows it, as in ``> /dev/full``."""
    words = [EMBEVO] if fresh else [interpreter(), "-c", "from embevo_cli.main import main; main()"]
    line = " ".join([shlex.join(map(str, [*words, *arguments])), shell])
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, capture_output=True, text=True, errors="replace", check=False
    )


@pytest.mark.parametrize("env", NARROW, ids=str)
def test_any_character_on_any_terminal(tmp_path: Path, env: dict[str, str]) -> None:
    name = "ünï 日本 \udcff"
    run = written.write_run(tmp_path / "runs" / name, rows=6, sealed=6, config={"名": 1})
    run.journal.close()
    (run.path / "journal").unlink()
    commands = [
        [*arguments, str(tmp_path / "runs" if arguments[0] == "ls" else run.path)] for arguments in LOOKING
    ]
    # What is narrow for one command is so for a training; torch takes long to import.
    if env != NARROW[1]:
        commands.append(["train", *SMALL, "--steps", "3", "--out", "日本"])
    for command, (code, output, errors) in zip(commands, each(commands, tmp_path, env=env), strict=True):
        assert code == 0, (command, errors)
        assert "Traceback" not in errors
        assert "Encode" not in errors
        assert output, command
    if len(commands) > len(LOOKING):
        assert open_run(tmp_path / "日本").steps.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("shell", "said"),
    [("> /dev/full", "No space left"), (">&-", ""), (">&- 2>&- <&-", ""), ("| head -c 1", "")],
)
def test_what_becomes_of_the_output_does_not_end_a_training(tmp_path: Path, shell: str, said: str) -> None:
    words = ["train", *SMALL, "--steps", 40, "--out", "run"]
    # What a process opens while it imports gets the number of a stream that is closed, too.
    fresh = "<&-" in shell
    result = embevo(*words, cwd=tmp_path, shell=shell + "; exit ${PIPESTATUS[0]}", fresh=fresh)
    assert result.returncode == 0, result.stderr
    assert said in result.stderr
    assert bool(said) == bool(result.stderr)
    # A file that has got the number of a closed stream would have been written to by whoever prints.
    assert verify(tmp_path / "run", deep=True).ok
    assert len(open_run(tmp_path / "run").steps) == 41


def test_a_full_disk_for_the_output_is_said(tmp_path: Path) -> None:
    written.write_run(tmp_path / "run", rows=6, sealed=6)
    helped = [[name, "--help"] for name in COMMANDS]
    commands = [*helped, ["--help"], ["info", "run"], ["ls"], ["info", "--json", "run"]]
    said = f"Error: cannot write the output: {os.strerror(errno.ENOSPC)}\n"
    found = each(commands, tmp_path, output="/dev/full")
    assert found == [(2, b"", said)] * len(commands)


def test_a_log_gets_a_line_now_and_then(tmp_path: Path) -> None:
    result = embevo("train", *SMALL, "--steps", 40, "--out", "run", cwd=tmp_path)
    lines = [line for line in result.stdout.splitlines() if line.startswith("Step ")]
    assert lines[0].startswith("Step 1 of 40, loss ")
    assert lines[-1].startswith("Step 40 of 40, loss ")
    assert all(" it/s, " in line and line.endswith(" left") for line in lines)
    assert not any(line != line.rstrip() or "\x1b" in line for line in result.stdout.splitlines())


class Loss:
    """A loss that counts how often it is read."""

    def __init__(self) -> None:
        self.read = 0

    def item(self) -> float:
        self.read += 1
        return 1.25


@given(
    steps=st.integers(1, 400),
    first=st.integers(0, 300),
    seconds=st.sampled_from([0.001, 0.1, 1.0, 7.0, 100.0]),
)
def test_lines_come_at_tenths_and_where_those_take_long(steps: int, first: int, seconds: float) -> None:
    """However long a step takes: no line within two seconds of another, none missing for longer than half a
    minute or one step, every tenth shown where steps are slow, and the last step always."""
    first = min(first, steps - 1)
    clock = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embevo_cli.training_progress.time.monotonic", lambda: clock[0])
        console = Console(quiet=True)
        shown: list[tuple[float, int]] = []
        progress = Lines(console, steps)
        loss = Loss()
        progress.begin(first)
        for step in range(first + 1, steps + 1):
            clock[0] += seconds
            before = loss.read
            progress.step(step, loss)
            if loss.read > before:
                shown.append((clock[0], step))
        before = loss.read
        progress.finish()
        if loss.read > before:
            shown.append((clock[0], steps))
    times = [time for time, _ in shown[:-1]]
    assert shown[0][1] == first + 1
    assert shown[-1][1] == steps
    assert all(later - earlier >= 2.0 - 1e-6 for earlier, later in pairwise(times))
    everything = [0.0, *(time for time, _ in shown)]
    gaps = [later - earlier for earlier, later in pairwise(everything)]
    assert max(gaps) <= 30.0 + seconds + 1e-6
    if seconds >= 2.0:
        tenths = {steps * tenth // 10 for tenth in range(1, 11)}
        assert {tenth for tenth in tenths if tenth > first} <= {step for _, step in shown}


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(NAMES)
def test_a_command_line_is_what_a_shell_takes(name: str) -> None:
    printed = command_line("printf", "%s\\0", Path(name)) if name not in {".", ".."} else "printf '%s\\0' x"
    word = subprocess.run(["bash", "-c", printed], capture_output=True, check=True).stdout
    assert Path(os.fsdecode(word[:-1])) == (Path(name) if name not in {".", ".."} else Path("x"))
    assert not word.startswith(b"-")


@pytest.mark.parametrize("name", ["-it's with spaces", 'a "b" of $HOME, ünï 日本'])
def test_the_commands_that_follow_work_as_they_stand(tmp_path: Path, name: str) -> None:
    result = embevo("train", *SMALL, "--steps", 2, f"--out={name}", cwd=tmp_path)
    commands = result.stdout.partition("Next:\n")[2].splitlines()
    assert len(commands) == 3
    path = f"{EMBEVO.parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_an_empty_path_and_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(train, [*SMALL, "--steps", "2", "--out", ""])
    assert result.exit_code == 2
    assert "the path is empty" in result.output
    result = CliRunner().invoke(train, [*SMALL, "--steps", "2", "--out=~/runs/a"], catch_exceptions=False)
    assert result.exit_code == 0
    assert len(open_run(tmp_path / "runs" / "a").steps) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    lines = embevo("ls", "--json", cwd=tmp_path, fresh=True).stdout.splitlines()
    assert [Path(json.loads(line)["path"]).name for line in lines] == ["a"]


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "12", "012"])
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path, closed: str) -> None:
    program = """
import sys
from embevo_cli.output import prepare
prepare()
with open("opened", "w") as file:
    file.write(str(file.fileno()))
"""
    shut = " ".join(f"{number}>&-" for number in closed)
    command = f"{shlex.join([sys.executable, '-c', program])} {shut}"
    subprocess.run(["bash", "-c", command], check=True, cwd=tmp_path)
    assert int((tmp_path / "opened").read_text()) > 2


def test_the_bar_says_what_is_done_when_all_rows_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with progress.analysing(Path("it")) as told:
        told["on_rows"](7, 7)
        before = shown.getvalue()
        told["on_walks"](0, 3000)
        told["on_walks"](900, 3000)
    after = shown.getvalue().removeprefix(before)
    assert "Measuring it" in before
    assert "7/7" in before
    assert "Comparing" not in before
    assert "Comparing it with random walks" in after
    assert "30 %" in after
    # Of the rows nothing is left, and that is not said any more.
    assert "7/7" not in after.rpartition("Comparing")[2]
