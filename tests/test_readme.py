"""The README's Python, as it stands there, in one directory, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_every_python_example_runs(tmp_path: Path) -> None:
    examples = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert [name for name, _ in examples] == ["record", "read", "look"]
    assert README.read_text().count("```python") == len(examples)
    for name, code in examples:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (name, done.stderr)
        for printed in re.findall(r"^print\(.*# (.*)$", code, re.MULTILINE):
            assert printed in done.stdout


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"`embevo ([a-z-]+)", README.read_text()))
    shown = subprocess.run(
        [sys.executable, "-c", "from embevo_cli.main import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert named <= set(re.findall(r"^  ([a-z-]+) ", shown, re.MULTILINE))
