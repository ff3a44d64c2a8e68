"""``embevo import-safetensors``: a folder of safetensors files becomes a run."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from . import shared_options
from .paths import PathOf
from .readable import command_line
from .selection import token_ids

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
@shared_options.store
@shared_options.zarr_dtype
@click.option(
    "--token-ids",
    callback=token_ids,
    metavar="IDS",
    help="Which tokens the rows are, where they are not all and the files do not say it: ids and ranges of "
    "them, 0-31,65.",
)
@click.option(
    "--vocabulary",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many tokens there are in all; goes with --token-ids.",
)
@click.option("--overwrite", is_flag=True, help="Delete the run that is there.")
def import_safetensors(
    *,
    folder: Path,
    out: Path,
    keys: tuple[str, ...],
    store: str,
    zarr_dtype: str,
    token_ids: list[int] | None,
    vocabulary: int | None,
    overwrite: bool,
) -> None:
    """Make a run of the files step_<number>.safetensors in FOLDER, bit for bit.

    All headers are checked before anything is written. Steps that are not there stay gaps. Which tokens the
    rows are is what the files say, as those of embevo export-safetensors do; tokens.json in FOLDER, which it
    writes too, says their texts, counts and groups.
    """
    from embevo.run.exchange.importing import import_snapshots, inspect_folder  # noqa: PLC0415
    from embevo.run.format.token_subset import TokenSubset  # noqa: PLC0415

    from .progress import counting  # noqa: PLC0415

    named = [key.partition("=") for key in keys]
    if (token_ids is None) != (vocabulary is None):
        raise click.UsageError("--token-ids and --vocabulary go together: which tokens, and of how many")
    chosen = None if token_ids is None or vocabulary is None else TokenSubset.of(token_ids, vocabulary)
    found = inspect_folder(folder, {key: name or key for key, _, name in named}, tokens=chosen)
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
    if found.not_said:
        click.echo(f"Left alone: {found.not_said}")
    count = found.frame.token_count
    if count and not found.tokens_from:
        click.echo(
            f"Nothing says which tokens the {count:,} rows are: they are taken for all of the vocabulary, 0 "
            f"to {count - 1}. If they are others, import again with --token-ids and --vocabulary."
        )
    look = command_line("embevo", "info", out)
    click.echo(f"Imported {len(found.files):,} steps into {out}. Look at them with: {look}")
