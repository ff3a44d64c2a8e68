"""``embevo recover``: bring an interrupted or damaged run into order."""

from pathlib import Path

import click

from .paths import PathOf


@click.command()
@click.argument("run", type=PathOf())
@click.pass_context
def recover(ctx: click.Context, run: Path) -> None:
    """Seal what a killed writer has left in the journal of RUN, and rebuild damaged files from intact ones.

    Exits with 0 if the run is in order afterwards, with 1 if something could not be rebuilt or proved.
    """
    from embevo.run.format.steps import describe  # noqa: PLC0415
    from embevo.run.repair.recovery import recover as mend  # noqa: PLC0415 - numpy and zarr load when they are needed

    done = mend(run)
    if done.sealed:
        click.echo(f"Sealed {len(done.sealed):,} steps from the journal: {describe(done.sealed)}")
    for name in done.removed:
        click.echo(f"Removed the unfinished {name}")
    for name in done.rebuilt:
        click.echo(f"Rebuilt {name}")
    for what in done.lost:
        click.echo(f"LOST: {what}")
    for what in done.unproven:
        click.echo(f"UNPROVEN: {what}")
    if not (done.sealed or done.removed or done.rebuilt or done.lost or done.unproven):
        click.echo("Nothing to do: the run is in order.")
    ctx.exit(1 if done.lost or done.unproven else 0)
