"""``embevo import-safetensors``: a folder of safetensors files becomes a run."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from .paths import PathOf
from .readable import command_line

if TYPE_CHECKING:
    from embevo.run.format.layout import Store, ZarrDtype


@click.command("import-safetensors")
@click.argument("folder", type=PathOf(exists=True, file_okay=False))
@click.option("--out", required=True, type=PathOf(), help="Directory of the new run.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    default=["embeddings"],
    show_default=True,
    metavar="KEY[=NAME]",
    help="Tensor to take from each file, and the name of its array in the run. Can be given several times.",
)
@click.option(
    "--store", default="both", show_default=True, type=click.Choice(["zarr", "safetensors", "both"])
)
@click.option(
    "--zarr-dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "native"]),
    help="How Zarr stores a 16-bit matrix: widened exactly, or as it is.",
)
@click.option("--overwrite", is_flag=True, help="Delete the run that is there.")
def import_safetensors(
    *, folder: Path, out: Path, keys: tuple[str, ...], store: str, zarr_dtype: str, overwrite: bool
) -> None:
    """Make a run of the files step_<number>.safetensors in FOLDER, bit for bit.

    All headers are checked before anything is written. Steps that are not there stay gaps.
    """
    from embevo.run.exchange.importing import import_snapshots, inspect_folder  # noqa: PLC0415

    from .progress import counting  # noqa: PLC0415

    named = [key.partition("=") for key in keys]
    found = inspect_folder(folder, {key: name or key for key, _, name in named})
    with counting("importing", len(found.files)) as on_step:
        import_snapshots(
            found,
            out,
            store=cast("Store", store),
            zarr_dtype=cast("ZarrDtype", zarr_dtype),
            overwrite=overwrite,
            on_step=on_step,
        )
    if found.left_out:
        click.echo(f"Not imported: {', '.join(found.left_out)} (choose tensors with --key)")
    look = command_line("embevo", "info", out)
    click.echo(f"Imported {len(found.files):,} steps into {out}. Look at them with: {look}")
