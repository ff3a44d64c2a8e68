"""``embevo annotate``: give the tokens of a run strings, counts and groups, long after it was recorded."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .paths import PathOf

if TYPE_CHECKING:
    from embevo.run.reading.reader import Run


@click.command()
@click.argument("run", type=PathOf())
@click.option(
    "--tokenizer",
    type=PathOf(dir_okay=False),
    metavar="FILE",
    help="What says the text of each token: tokenizer.json, a .model of sentencepiece, a JSON list.",
)
@click.option(
    "--corpus",
    type=PathOf(dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="A text to count the tokens of, with the tokenizer; several may be given. They count in the place "
    "of what the run says.",
)
@click.option(
    "--groups",
    type=PathOf(dir_okay=False),
    metavar="FILE",
    help='A TOML file of groups, one a line: digits = ["0", "1", 262], or words = {matching = " [a-z]+"}.',
)
@click.option("--clear", is_flag=True, help="Forget first what was said of the tokens.")
def annotate(
    *, run: Path, tokenizer: Path | None, corpus: tuple[Path, ...], groups: Path | None, clear: bool
) -> None:
    """Give the tokens of RUN names, counts and groups of your own, each in the place of what it had.

    RUN may be finished or interrupted; one that is being recorded is refused. Rows stay as they are.
    """
    from embevo.recording.annotating import annotate as annotate_run  # noqa: PLC0415 - torch is slow to load
    from embevo.run.reading.reader import open_run  # noqa: PLC0415

    if not (tokenizer or corpus or groups or clear):
        raise click.UsageError("say what is to be entered: --tokenizer, --corpus, --groups, or --clear")
    chosen = None if groups is None else _read_groups(groups)
    counts = _counted(open_run(run), tokenizer, corpus) if corpus else None
    annotate_run(
        run,
        tokenizer=None if tokenizer is None else str(tokenizer),
        token_count=counts,
        groups=chosen,
        clear=clear,
    )
    _print(open_run(run))


def _read_groups(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not TOML: {error}", param_hint="--groups") from error


def _counted(run: "Run", tokenizer: Path | None, corpus: tuple[Path, ...]) -> Any:
    """``(token,)`` occurrences in the texts."""
    import numpy as np  # noqa: PLC0415

    from embevo.recording.annotating import vocabulary_of  # noqa: PLC0415
    from embevo.recording.count_tokens import count_tokens  # noqa: PLC0415
    from embevo.recording.token_strings import tokenizer_in  # noqa: PLC0415
    from embevo.run.format.provenance import vocabulary_is_bytes  # noqa: PLC0415

    vocabulary = vocabulary_of(run.frame)
    if tokenizer is None and vocabulary_is_bytes(run.attributes):
        data = (np.frombuffer(path.read_bytes(), np.uint8) for path in corpus)
        return count_tokens(data, vocabulary=vocabulary)
    if tokenizer is None:
        raise click.UsageError("--corpus needs --tokenizer, to make tokens of the text")
    return count_tokens(map(_text_of, corpus), tokenizer_in(tokenizer), vocabulary=vocabulary)


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path} is not UTF-8: {error}", param_hint="--corpus") from error


def _print(run: "Run") -> None:
    said = run.annotations
    total = run.frame.token_count
    if said.strings is not None:
        named = sum(text is not None for text in said.strings)
        rest = f"; {total - named:,} have no name" if named < total else ""
        click.echo(f"Named: {named:,} of {total:,} tokens{rest}.")
    if run.tokens is not None:
        live = len(run.tokens.live)
        counted = f"{int(run.tokens.count.sum()):,} occurrences"
        click.echo(f"Counted: {counted}, {live:,} live and {total - live:,} dead tokens.")
    for name, ids in run.groups.items():
        click.echo(f"Group {name}: {len(ids):,} tokens.")
    if said.is_empty:
        click.echo("Nothing is said of its tokens beyond what was recorded.")
