"""The commands that make a run, and a page about it, again."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from embevo.analysis import Analysis
from embevo.analysis.verdicts.applicability import EMBEDDING
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.run.format.provenance import is_experiment
from embevo.run.reading.reader import Run

_WIDTH: Final = 76


def commands(run: Run, name: str) -> list[str]:
    """Shell commands, long ones on several lines; empty if the run was made by a program of one's own.

    Args:
        run: the run.
        name: of the directory to make it in, below ``runs``.
    """
    out = f"runs/{name}"
    imported = run.attributes.get("imported")
    if isinstance(imported, Mapping) and "folder" in imported:
        words = [str(imported["folder"]), "--out", out]
        return [_wrapped("embevo import-safetensors", [" ".join(map(shlex.quote, words))])]
    if is_experiment(run.attributes):
        return [_wrapped("embevo train", [*_options(run.config), f"--out {shlex.quote(out)}"])]
    return []


def report_command(analyses: Sequence[Analysis], out: str, nulls: Sequence[str] = ()) -> str:
    """The command that makes the page, with the thresholds that are not the defaults, and files of nulls."""
    runs = [shlex.quote(str(analysis.run_path)) for analysis in analyses]
    matrix = analyses[0].summary["matrix"]
    chosen = [] if matrix == EMBEDDING else [f"--matrix {shlex.quote(matrix)}"]
    if any(analysis.applies.judged and analysis.applies.statement for analysis in analyses):
        chosen.append("--judge")
    defaults = Thresholds().to_json()
    changed = [
        f"--threshold {name}={value!r}"
        for name, value in analyses[0].thresholds.to_json().items()
        if value != defaults[name]
    ]
    beside = [f"--null {shlex.quote(name)}" for name in nulls]
    return _wrapped("embevo report", [*runs, *chosen, *changed, *beside, f"-o {shlex.quote(out)}"])


def _options(config: Mapping[str, Any]) -> list[str]:
    """Every setting as an option of embevo train."""
    options = []
    for name, value in config.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            options.append(f"--{shlex.quote(flag)} {shlex.quote(str(value))}")
    return options


def _wrapped(command: str, parts: Sequence[str]) -> str:
    """Words on lines of bounded length, continued as a shell wants it."""
    lines = [command]
    for part in parts:
        if len(lines[-1]) + len(part) > _WIDTH:
            lines.append("   ")
        lines[-1] += f" {part}"
    return " \\\n".join(lines)
