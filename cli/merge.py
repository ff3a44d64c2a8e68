"""``embevo merge``: pieces of one training become one run."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from . import shared_options
from .paths import PathOf
from .readable import command_line

if TYPE_CHECKING:
    from embevo.run.format.layout import Store, ZarrDtype


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PathOf(), metavar="RUN RUN...")
@click.option("--out", required=True, type=PathOf(), help="Directory of the new run.")
@shared_options.store
@shared_options.zarr_dtype
@click.option("--overwrite", is_flag=True, help="Replace the run that is there.")
def merge(runs: tuple[Path, ...], *, out: Path, store: str, zarr_dtype: str, overwrite: bool) -> None:
    """Make one run of the steps of several: pieces that follow, overlap, or lie between each other's steps.

    Steps that are in several of them are compared in every bit before anything is written. The runs stay as
    they are. Steps that none of them has stay gaps. Texts, counts and groups of tokens are taken where the
    runs do not contradict each other. One run that several processes have recorded becomes a run of one
    piece.
    """
    from embevo.run.exchange.merging import inspect_runs, merge_runs  # noqa: PLC0415
    from embevo.run.format.steps import describe  # noqa: PLC0415

    from .progress import counting  # noqa: PLC0415

    with counting("comparing", None) as on_step:
        merging = inspect_runs(runs, on_step=on_step)
    with counting("merging", len(merging.steps)) as on_step:
        merge_runs(
            merging,
            out,
            store=cast("Store", store),
            zarr_dtype=cast("ZarrDtype", zarr_dtype),
            overwrite=overwrite,
            on_step=on_step,
        )
    for index, run in enumerate(merging.runs):
        taken = merging.steps[merging.sources == index].tolist()
        click.echo(f"{run.path}: {describe(taken) if taken else 'no step that another run did not have'}")
    if merging.left_out:
        click.echo(
            f"Not the same in all, and kept in the attribute merged only: {', '.join(merging.left_out)}"
        )
    if merging.contradicted:
        click.echo(f"Not the same in all, and left out: {', '.join(merging.contradicted)}")
    look = command_line("embevo", "info", out)
    click.echo(f"Merged {len(merging.steps):,} steps into {out}. Look at them with: {look}")
