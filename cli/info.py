"""``embevo info``: one run on one screen."""

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from .paths import PathOf
from .readable import command_line, size_of, state_of

# Rows that may take two lines of a screen, and not one.
_LONG: Final = frozenset({"run", "surrogate", "state", "size", "config", "dead", "more"})
# Arrays that have a row of their own.
_ARRAYS: Final = 4
_MOST_LABELS: Final = 40
# Settings that are shown without saying how many there are.
_MANY: Final = 8
# Half of a path, or of a command, would be of no use.
_WHOLE: Final = frozenset({"journal"})
# Characters of one setting.
_LONGEST_VALUE: Final = 60

if TYPE_CHECKING:
    from embevo.run.reading.summary import MatrixSummary, RunSummary, TokenSummary


@click.command()
@click.argument("run", type=PathOf())
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--settings", is_flag=True, help="Print the settings and attributes alone, one a line.")
@click.option("--all", "whole", is_flag=True, help="Print long settings, attributes and lists in full.")
def info(run: Path, as_json: bool, settings: bool, whole: bool) -> None:
    """Show what is inside RUN, on one small screen.

    What is long is cut short, and the output says so; --settings prints the settings, --all prints all of it.
    Works on finished and interrupted runs, and on one that is being recorded right now.
    """
    from embevo.run.reading.summary import summarize  # noqa: PLC0415 - zarr is loaded when it is needed

    summary = summarize(run)
    if as_json:
        click.echo(json.dumps(summary.to_json(), indent=2))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    # A path that is longer than a line goes on in the next.
    table.add_column(overflow="fold")
    console = Console(highlight=False, soft_wrap=False)
    rows = _settings(summary) if settings else _rows(summary, whole=whole)
    if not whole and not settings:
        shortened = _on_one_screen(rows, max(20, console.width - 2 - max(len(label) for label, _ in rows)))
        if shortened != _rows(summary, whole=True):
            how = command_line("embevo", "info", run, "--all")
            shortened.append(("more", f"{how} prints all of it, --settings the settings alone"))
        rows = shortened
    for label, value in rows:
        table.add_row(label, Text(value))
    console.print(table)


def _on_one_screen(rows: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """The rows, each cut to as many lines of ``width`` characters as it may have."""
    found = []
    for label, value in rows:
        longest = width * (2 if label in _LONG else 1)
        found.append(
            (
                label,
                value if label in _WHOLE or len(value) <= longest else f"{value[: longest - 4].rstrip()} ...",
            )
        )
    return found


def _rows(summary: "RunSummary", *, whole: bool) -> list[tuple[str, str]]:
    from embevo.run.format.provenance import surrogate_of  # noqa: PLC0415
    from embevo.run.format.settings import last_step_of  # noqa: PLC0415
    from embevo.run.format.steps import describe_ranges  # noqa: PLC0415

    state = state_of(summary)
    if summary.state == "interrupted" and not summary.journal_elsewhere:
        state += f" ({command_line('embevo', 'recover', Path(summary.path))} seals them)"
    rows = [("run", str(Path(summary.path).resolve())), ("state", state)]
    surrogate = surrogate_of(summary.attributes)
    rows += [("surrogate", surrogate)] if surrogate else []
    if summary.rows:
        steps = f"{summary.rows:,}: {summary.first_step}..{summary.last_step}"
        asked = last_step_of({"config": summary.config, **summary.attributes})
        if asked is not None and summary.last_step is not None and summary.last_step < asked:
            steps += f" of {asked:,} asked for"
        rows.append(("steps", steps))
        if summary.missing:
            rows.append(("gaps", f"{summary.missing:,} missing: {describe_ranges(summary.gaps)}"))
        else:
            rows.append(("gaps", "none"))
    else:
        rows.append(("steps", "none yet"))
    if summary.unproven_rows:
        rows.append(
            (
                "unproven",
                f"{summary.unproven_rows:,} more steps, proven only where they were captured",
            )
        )
    if summary.journal_elsewhere:
        rows.append(("journal", summary.journal_elsewhere))
    rows.append(("shape", f"{_by(summary.shape)} ({', '.join(summary.dimensions)})"))
    arrays = summary.matrices if whole else summary.matrices[:_ARRAYS]
    rows += [(matrix.name, _shape(matrix, summary) + _layout(matrix)) for matrix in arrays]
    if len(arrays) < len(summary.matrices):
        rest = ", ".join(matrix.name for matrix in summary.matrices[len(arrays) :])
        rows.append(("and", f"{len(summary.matrices) - len(arrays)} more: {rest}"))
    if summary.scalars:
        rows.append(("per step", ", ".join(summary.scalars)))
    rows += [
        ("store", _store(summary)),
        ("size", _sizes(summary)),
    ]
    if summary.efforts:
        rows.append(("compressed", _efforts(summary)))
    if summary.checkpoints:
        rows.append(("checkpoints", _checkpoints(summary)))
    rows += [(name, _fields(fields, whole=whole)) for name, fields in _attributes(summary)]
    return [*rows, *_of_tokens(summary)]


def _attributes(summary: "RunSummary") -> list[tuple[str, dict[str, Any]]]:
    """What was said of the run when it was made, by what it is of."""
    named = (
        ("config", summary.config),
        ("corpus", summary.corpus),
        ("versions", summary.versions),
        ("also", summary.attributes),
    )
    return [(name, fields) for name, fields in named if fields]


def _settings(summary: "RunSummary") -> list[tuple[str, str]]:
    """A row for each setting, in full."""
    rows = [
        (name, f"{_one_line(key)} {_plain(value, whole=True)}")
        for name, fields in _attributes(summary)
        for key, value in fields.items()
    ]
    if not rows:
        return [("config", "nothing was said of this run when it was made")]
    return [
        ("" if number and rows[number - 1][0] == name else name, value)
        for number, (name, value) in enumerate(rows)
    ]


def _of_tokens(summary: "RunSummary") -> list[tuple[str, str]]:
    """What is known of the tokens."""
    rows = []
    if summary.recorded < summary.vocabulary:
        rows.append(("recorded", f"{summary.recorded:,} of the vocabulary's {summary.vocabulary:,} tokens"))
    if summary.named:
        rows.append(("named", f"{summary.named:,} of {summary.recorded:,} tokens"))
    if summary.groups:
        rows.append(("groups", ", ".join(f"{name} {size:,}" for name, size in summary.groups.items())))
    if summary.tokens is not None:
        rows.append(("tokens", f"{summary.tokens.live} live, {len(summary.tokens.dead)} dead"))
        if summary.tokens.dead:
            rows.append(("dead", _labels(summary.tokens, named=summary.named > 0)))
    return rows


def _shape(matrix: "MatrixSummary", summary: "RunSummary") -> str:
    """The shape of an array at one step, where it is not that of the main one."""
    if (matrix.shape, matrix.dimensions) == (summary.shape[1:], summary.dimensions[1:]):
        return ""
    return f"{_by(matrix.shape)} ({', '.join(matrix.dimensions)}) "


def _layout(matrix: "MatrixSummary") -> str:
    text = matrix.dtype
    if matrix.stored_dtype is not None and matrix.stored_dtype != matrix.dtype:
        text += f", in Zarr as {matrix.stored_dtype}"
    if matrix.shard and matrix.chunk:
        text += f"; files of {_by(matrix.shard)}"
        if matrix.chunk != matrix.shard:
            text += f", chunks of {_by(matrix.chunk)}"
    return text


def _efforts(summary: "RunSummary") -> str:
    """With which effort its blocks were made."""
    said = {"none": "stored as they are", "fast": "made fast", "small": "made small"}
    if len(summary.efforts) == 1:
        (effort,) = summary.efforts
        return f"all blocks {said[effort]}"
    return "blocks " + ", ".join(f"{said[effort]} {part:.0%}" for effort, part in summary.efforts.items())


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _checkpoints(summary: "RunSummary") -> str:
    kept = set(summary.kept_checkpoints)
    steps = ", ".join(f"{step:,}" for step in summary.checkpoints if step not in kept)
    if not kept:
        return f"of step {steps}"
    return "kept of step " + ", ".join(f"{step:,}" for step in sorted(kept)) + (steps and f"; and of {steps}")


def _store(summary: "RunSummary") -> str:
    text = f"{summary.store}, sealed in blocks of {summary.block_steps:,} steps"
    if not summary.compacted_rows:
        return text
    if summary.compacted_rows < summary.rows:
        return f"{text}, {summary.compacted_rows:,} steps compacted"
    return f"{text}, compacted"


def _sizes(summary: "RunSummary") -> str:
    parts = ", ".join(f"{name} {size_of(size)}" for name, size in summary.bytes.items())
    text = f"{size_of(summary.total_bytes)}: {parts}"
    if summary.ratio is not None:
        how = f"{summary.ratio:.2f} times smaller"
        if 0 < summary.ratio < 1:
            how = f"{1 / summary.ratio:.2f} times larger"
        text += f"; Zarr is {how} than the same steps as safetensors files"
    return text


def _fields(fields: dict[str, Any], *, whole: bool) -> str:
    many = f"{len(fields)} in all: " if len(fields) > _MANY and not whole else ""
    return many + ", ".join(
        f"{_one_line(name)} {_plain(value, whole=whole)}" for name, value in fields.items()
    )


def _plain(value: object, *, whole: bool) -> str:
    """A value on one line; of a long one the beginning, so that those after it are seen too."""
    text = _one_line(value if isinstance(value, str) else json.dumps(value))
    return text if whole or len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _one_line(text: str) -> str:
    """A text without line breaks and other characters that move the cursor."""
    return text if text.isprintable() else json.dumps(text)


def _labels(tokens: "TokenSummary", *, named: bool) -> str:
    """Labels of the dead tokens: some of them where they have names, which say nothing of their neighbours.

    Else those of ids that follow each other are drawn together: x00..x09, #, @.
    """
    if named:
        more = len(tokens.dead_labels) - _MOST_LABELS
        shown = "  ".join(tokens.dead_labels[:_MOST_LABELS])
        return shown if more <= 0 else f"{shown}  and {more:,} more"
    numbered = list(enumerate(tokens.dead))
    parts = []
    for _, group in groupby(numbered, lambda item: item[1] - item[0]):
        places = [place for place, _ in group]
        first, last = tokens.dead_labels[places[0]], tokens.dead_labels[places[-1]]
        parts.append(first if first == last else f"{first}..{last}")
    return ", ".join(parts)
