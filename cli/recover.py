"""``embevo recover``: bring an interrupted or damaged run into order."""

from pathlib import Path

import click

from .paths import PathOf


@click.command()
@click.argument("run", type=PathOf())
@click.option(
    "--accept-unproven",
    is_flag=True,
    help="Seal steps that nothing proves as they are: once no machine can prove them any more.",
)
@click.option("--discard-unproven", is_flag=True, help="Give up steps that nothing proves.")
@click.pass_context
def recover(ctx: click.Context, run: Path, *, accept_unproven: bool, discard_unproven: bool) -> None:
    """Seal what a killed writer has left in the journal of RUN, and rebuild damaged files from intact ones.

    Steps of large matrices that another machine has captured, and has not given a checksum yet, wait in the
    journal until this is run on that machine.

    Exits with 0 if the run is in order afterwards, with 1 if something could not be rebuilt or proved.
    """
    from embevo.run.format.steps import describe  # noqa: PLC0415
    from embevo.run.repair.recovery import recover as mend  # noqa: PLC0415 - numpy and zarr load when they are needed

    if accept_unproven and discard_unproven:
        raise click.UsageError("--accept-unproven and --discard-unproven exclude each other.")
    done = mend(run, unproven="accept" if accept_unproven else "discard" if discard_unproven else "wait")
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
    for what in done.ahead:
        click.echo(f"AHEAD: {what}")
    if done.waiting or done.elsewhere:
        click.echo(f"WAITING: {done.how_to_go_on}")
    if done.ok and not (done.sealed or done.removed or done.rebuilt):
        click.echo("Nothing to do: the run is in order.")
    ctx.exit(0 if done.ok else 1)
