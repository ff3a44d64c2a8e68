"""How states, sizes and commands are worded for people, the same everywhere."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embevo.run.reading.summary import RunSummary


def state_of(summary: "RunSummary") -> str:
    """The state of a run, in a few words."""
    if summary.state == "recording":
        return f"being written by {summary.writer}"
    if summary.state == "unknown":
        return f"not closed; whether {summary.writer} still writes it cannot be told from here"
    if summary.state == "interrupted" and summary.journal_elsewhere:
        return "interrupted, and its journal is not here"
    if summary.state == "interrupted":
        return f"interrupted: {summary.journal_rows:,} rows in the journal"
    return "complete"


def size_of(count: float) -> str:
    """A number of bytes, for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def program(name: str) -> str:
    """How to call a program of this environment from here: by its name if that finds it, else by its path."""
    installed = Path(sys.executable).parent / name
    found = shutil.which(name)
    # Not resolved: the python of an environment is a link to the one that it was made from.
    if found is not None and Path(found).absolute() == installed.absolute():
        return name
    path = os.path.relpath(installed)
    return path if not path.startswith("..") else str(installed)


def command_line(*words: str | Path) -> str:
    """A command that a shell takes as it stands, whatever is in its paths."""
    return shlex.join(map(_word, words))


def _word(word: str | Path) -> str:
    # A relative path that begins with a hyphen would be taken for an option.
    return f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
