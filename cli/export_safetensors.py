"""``embevo export-safetensors``: the steps of a run as safetensors files."""

from pathlib import Path

import click

from .paths import PathOf
from .selection import TokenChoice, step_slice, token_choice


@click.command("export-safetensors")
@click.argument("run", type=PathOf())
@click.option("--out", required=True, type=PathOf(file_okay=False), help="Folder to fill.")
@click.option(
    "--steps",
    callback=step_slice,
    metavar="A:B:S",
    default=":",
    help="Step numbers, with the meaning of a Python slice: 100:200 are the recorded steps from 100 to 199, "
    "::10 those divisible by ten, -50: those among the last fifty numbers. All by default.",
)
@click.option(
    "--tokens",
    callback=token_choice,
    metavar="TOKENS",
    help="Token ids and ranges of them: 0-31,65; texts, where the run knows its tokens: ' the',\"7\"; "
    "characters where token ids are bytes, as embevo train has them: a-z. All by default.",
)
@click.option("--single-file", is_flag=True, help="One file, (step, token, dim), with the array step.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
def export_safetensors(
    *, run: Path, out: Path, steps: slice, tokens: TokenChoice | None, single_file: bool, overwrite: bool
) -> None:
    """Write the steps of RUN to the files that the model would have been saved to, bit for bit.

    One file a step, step_0000123.safetensors, in the model's own dtype. RUN may be still being recorded.
    """
    from embevo.run.exchange.exporting import export_snapshots, export_stacked, select_steps  # noqa: PLC0415
    from embevo.run.reading.reader import open_run  # noqa: PLC0415

    from .progress import counting  # noqa: PLC0415

    opened = open_run(run)
    rows = select_steps(opened, steps)
    ids = None if tokens is None else tokens.ids_in(opened.token_names)
    with counting("exporting", len(rows)) as on_step:
        if single_file:
            path = export_stacked(opened, out, rows, tokens=ids, overwrite=overwrite, on_step=on_step)
            click.echo(f"Wrote {len(rows):,} steps to {path}")
        else:
            files = export_snapshots(opened, out, rows, tokens=ids, overwrite=overwrite, on_step=on_step)
            click.echo(f"Wrote {len(files):,} files to {out}: {files[0].name} .. {files[-1].name}")
