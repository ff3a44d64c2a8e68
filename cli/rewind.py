"""``embevo rewind``: drop what a run holds after a step."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to", "step", type=click.IntRange(min=-1), required=True, help="Last step to keep; -1 keeps none."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rewind(run: Path, step: int, *, yes: bool) -> None:
    """Drop what RUN holds after a step, so that a training that goes on from there records it anew.

    It says how many steps that are, and asks before they are dropped. An interrupted run is recovered first.
    """
    from embevo.run.format.steps import describe  # noqa: PLC0415
    from embevo.run.paths import RunPaths  # noqa: PLC0415
    from embevo.run.reading.reader import open_run  # noqa: PLC0415
    from embevo.run.repair.ranks import refuse_pieces  # noqa: PLC0415
    from embevo.run.repair.rewinding import rewind_to  # noqa: PLC0415 - numpy and zarr load when they are needed

    steps = open_run(run).steps
    after = steps[steps > step].tolist()
    if not after:
        click.echo(f"Nothing to drop: the run holds no step after {step}.")
        return
    refuse_pieces(RunPaths(run), "rewound as a whole")
    click.echo(f"{len(after):,} of {len(steps):,} steps are dropped for good: {describe(after)}")
    if not yes:
        click.confirm("Drop them?", abort=True)
    dropped = rewind_to(run, step)
    click.echo(f"Dropped {dropped:,} steps; {len(steps) - dropped:,} are left.")
