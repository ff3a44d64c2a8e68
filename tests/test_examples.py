"""The examples of the pages, as they stand there, each page in one directory, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.interpreters import interpreter

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RECORDING = ROOT / "docs" / "recording.md"
EXPERIMENT = ROOT / "docs" / "experiment.md"
AUDIT = ROOT / "docs" / "audit.md"
DIFF = ROOT / "docs" / "diff.md"
NULLS = ROOT / "docs" / "nulls.md"
OF_RECORDING = [
    "record",
    "accelerate",
    "trainer",
    "lightning",
    "sources",
    "tokens",
    "hook",
    "reading",
    "xarray",
    "effort",
]
# What these libraries warn of is not the example's doing.
OTHERS = {"accelerate", "trainer", "lightning"}


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def embevo(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    program = "from embevo_cli.main import main; main()"
    return run([interpreter(), "-c", program, *command.split()], directory)


def examples_of(page: Path) -> list[tuple[str, str]]:
    """Names and code of the examples of a page."""
    return re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    ("page", "names"),
    [(README, ["record", "read", "look"]), (RECORDING, OF_RECORDING)],
)
def test_every_python_example_runs(tmp_path: Path, page: Path, names: list[str]) -> None:
    examples = examples_of(page)
    assert [name for name, _ in examples] == names
    assert page.read_text().count("```python") == len(examples)
    # The run of the first page is there for the others.
    before = [] if page == README else examples_of(README)[:1]
    for name, code in [*before, *examples]:
        warnings = [] if name in OTHERS and page == RECORDING else ["-W", "error"]
        # What the imports of the first page warn of, others' would, too.
        python = sys.executable if page == README else interpreter()
        done = run([python, *warnings, "-c", code], tmp_path)
        assert done.returncode == 0, (name, done.stderr)
        for printed in re.findall(r"^print\(.*# (.*)$", code, re.MULTILINE):
            assert printed in done.stdout


def test_the_examples_of_the_experiment_run(tmp_path: Path) -> None:
    ((command, code),) = re.findall(
        r"<!-- test: train -->\n```sh\nembevo (.*?)\n```\n\n<!-- test: moments -->\n```python\n(.*?)```",
        EXPERIMENT.read_text(),
        re.DOTALL,
    )
    trained = embevo(f"{command} --device cpu", tmp_path)
    assert trained.returncode == 0, trained.stderr
    done = run([interpreter(), "-W", "error", "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in re.findall(r"^print\(.*# (.*)$", code, re.MULTILINE)


def test_the_examples_of_the_audit_run(tmp_path: Path) -> None:
    page = AUDIT.read_text()
    (command,) = re.findall(r"<!-- test: audit train -->\n```sh\nembevo (.*?)\n```", page)
    trained = embevo(f"{command} --device cpu", tmp_path)
    assert trained.returncode == 0, trained.stderr
    examples = examples_of(AUDIT)
    assert [name for name, _ in examples] == ["audit", "explain"]
    for _, code in examples:
        done = run([interpreter(), "-W", "error", "-c", code], tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == re.findall(r"^print\(.*# (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (DIFF, ["seeds", "diff", "rotation"]),
        (NULLS, ["training", "surrogates", "noise", "distribution", "verdicts"]),
    ],
    ids=["differences", "nulls"],
)
def test_the_examples_of_comparing_run(tmp_path: Path, page: Path, names: list[str]) -> None:
    examples = examples_of(page)
    assert [name for name, _ in examples] == names
    for _, code in examples:
        done = run([sys.executable, "-W", "error", "-c", code], tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == re.findall(r"^print\(.*# (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize("page", ["recording.md", "distributed.md"])
def test_what_a_page_says_of_a_plan_is_what_is_printed(tmp_path: Path, page: str) -> None:
    ((command, shown),) = re.findall(
        r"<!-- test: plan -->\n```sh\nembevo (.*?)\n```\n\n```text\n(.*?)```",
        RECORDING.with_name(page).read_text(),
        re.DOTALL,
    )
    printed = embevo(command, tmp_path).stdout
    # What there is of disk and memory is the machine's.
    common, _, others = printed.partition("disk left")
    assert shown == common + "".join(re.findall(r"^(?:ranks|a host|all ranks) .*\n", others, re.MULTILINE))


def test_every_command_it_names_exists(tmp_path: Path) -> None:
    named = set(re.findall(r"`embevo ([a-z-]+)", README.read_text()))
    shown = embevo("--help", tmp_path).stdout
    assert named <= set(re.findall(r"^  ([a-z-]+) ", shown, re.MULTILINE))
