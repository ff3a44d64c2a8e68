"""``embevo corpus``: what there is to train on."""

from pathlib import Path

import click

from embevo.experiment.corpus import Corpus, KnownCorpus, id_ranges, known_corpora, load_corpus

from .paths import PathOf
from .readable import command_line

_BYTES = 256


@click.group()
def corpus() -> None:
    """List, look at and fetch corpora."""


@corpus.command("list")
def list_() -> None:
    """Show the corpora that embevo knows by name."""
    for known in known_corpora().values():
        click.echo(known.name)
        _describe(known)
        if known.bytes is not None:
            click.echo(f"  bytes    {known.bytes:,}")
            click.echo(f"  sha256   {known.sha256}")
            click.echo(f"  live     {known.live_token_ids}")
        where = "shipped with embevo" if known.fetch is None else f"fetched by: {known.fetch}"
        click.echo(f"  where    {where}")


@corpus.command()
@click.argument("name")
def show(name: str) -> None:
    """Show size, SHA-256 and token ids of NAME, a known corpus or the path of a file."""
    known = known_corpora().get(name)
    if known is not None:
        click.echo(
            f"{known.title}\nsource   {known.source}\nlicence  {known.licence}\ncleaned  {known.cleaning}"
        )
    _print(load_corpus(name, _BYTES, context=1))


@corpus.command()
@click.option("--out", type=PathOf(), help="Where to write it.  [default: embevo's cache]")
@click.option("--url", help="Where to fetch it from.  [default: Project Gutenberg]")
def gatsby(*, out: Path | None, url: str | None) -> None:
    """Fetch The Great Gatsby from Project Gutenberg and clean it. The one command that uses the network."""
    from embevo.experiment.gutenberg import fetch_gatsby  # noqa: PLC0415 - only this command needs it

    path = fetch_gatsby(out, url)
    click.echo(f"Wrote {path}")
    _print(load_corpus(str(path), _BYTES, context=1))
    name = path if out is not None else "gatsby"
    click.echo(f"Train on it: {command_line('embevo', 'train', '--corpus', name)}")


def _describe(known: KnownCorpus) -> None:
    click.echo(f"  title    {known.title}")
    click.echo(f"  source   {known.source}")
    click.echo(f"  licence  {known.licence}")
    click.echo(f"  cleaned  {known.cleaning}")


def _print(loaded: Corpus) -> None:
    click.echo(f"  bytes    {loaded.byte_count:,}")
    click.echo(f"  sha256   {loaded.sha256}")
    ascii_only = max(loaded.live_ids) < _BYTES // 2
    size = _BYTES // 2 if ascii_only else _BYTES
    live = loaded.live_ids
    click.echo(f"  live     {len(live)} of {size} token ids: {id_ranges(live)}")
    dead = [token for token in loaded.dead_ids if token < size]
    click.echo(f"  dead     {len(dead)} of {size} token ids: {id_ranges(dead)}")
