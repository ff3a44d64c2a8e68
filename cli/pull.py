"""``embevo pull``: bring a run back from object storage."""

from pathlib import Path

import click

from . import shared_options
from .paths import PathOf
from .readable import command_line


@click.command()
@click.argument("url")
@click.argument("directory", type=PathOf())
@shared_options.patience
def pull(url: str, directory: Path, *, patience: float) -> None:
    """Bring the run at URL into DIRECTORY, each file compared with its checksum.

    Interrupted, it goes on when it is called again. The safetensors files of a run with both stores are made
    anew from its blocks, bit for bit. Needs embevo[cloud].
    """
    from embevo.run.mirroring.pulling import pull as bring  # noqa: PLC0415 - numpy and zarr load when needed

    from .progress import measuring  # noqa: PLC0415

    with measuring("bringing") as on_rows:
        root = bring(url, directory, patience=patience, on_rows=on_rows)
    look = command_line("embevo", "verify", "--deep", directory)
    click.echo(f"{root} is the run of {url}. To compare every value with what was captured: {look}")
