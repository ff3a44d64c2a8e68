"""``embevo export``: a run for the viewers of others."""

from pathlib import Path

import click

from .paths import PathOf
from .selection import MATRIX_HELP, step_slice

_ALL = slice(None)


@click.command()
@click.argument("run", type=PathOf())
@click.option(
    "--rerun", "recording", type=PathOf(dir_okay=False), metavar="FILE.rrd",
    help="Write a recording for Rerun: the cloud at every step, and the recorded scalars.",
)  # fmt: skip
@click.option(
    "--tensorboard-projector", "projector", type=PathOf(file_okay=False), metavar="DIR",
    help="Write a folder for TensorBoard's projector: the vectors at the last step, or at those of --steps.",
)  # fmt: skip
@click.option(
    "--steps",
    callback=lambda ctx, param, value: None if value is None else step_slice(ctx, param, value),
    metavar="A:B:S",
    help="Step numbers, with the meaning of a Python slice: 100:200 are the recorded steps from 100 to 199, "
    "::10 those divisible by ten, -50: those among the last fifty numbers.",
)
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option("--overwrite", is_flag=True, help="Replace FILE.rrd where it is there already.")
def export(
    run: Path,
    *,
    recording: Path | None,
    projector: Path | None,
    steps: slice | None,
    matrix: str | None,
    overwrite: bool,
) -> None:
    """Write RUN for another program; the run itself is not changed.

    An .rrd needs rerun-sdk, which embevo[rerun] brings; a folder for the projector needs nothing.
    """
    if (recording is None) == (projector is None):
        raise click.UsageError("what is it to be written for? --rerun FILE or --tensorboard-projector DIR")
    if projector is not None and overwrite:
        raise click.UsageError("--overwrite replaces an .rrd: a folder for the projector is new or empty")
    from embevo.run.reading.reader import open_run  # noqa: PLC0415 - loaded when it is needed
    from embevo.viewer.exported import Exported  # noqa: PLC0415

    from .progress import counting  # noqa: PLC0415
    from .readable import size_of  # noqa: PLC0415

    if recording is not None:
        from embevo.viewer.to_rerun import export_rerun, find_rerun  # noqa: PLC0415

        find_rerun()
        exported = Exported.of(run, steps or _ALL, matrix)
        rows = exported.opened.shape[0]
        with counting("exporting", rows) as on_step:
            export_rerun(exported, recording, overwrite=overwrite, on_row=on_step)
        click.echo(f"Wrote {rows:,} steps to {recording} ({size_of(recording.stat().st_size)}): "
                   f"rerun {recording} shows them")  # fmt: skip
    elif projector is not None:
        from embevo.viewer.to_projector import export_projector  # noqa: PLC0415

        if steps is None:
            last = open_run(run).steps[-1:].tolist()
            steps = slice(last[0], last[0] + 1) if last else _ALL
        exported = Exported.of(run, steps, matrix)
        with counting("exporting", exported.opened.shape[0]) as on_step:
            files = export_projector(exported, projector, on_step)
        total = sum(path.stat().st_size for path in files)
        click.echo(f"Wrote {len(files) - 2:,} steps to {projector} ({size_of(total)}): "
                   f"tensorboard --logdir {projector} shows them")  # fmt: skip
