"""``embevo compact``: make a run as small as it gets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .paths import PathOf
from .readable import command_line, size_of

if TYPE_CHECKING:
    from embevo.run.repair.compacting import CompactionEstimate


@click.command()
@click.argument("run", type=PathOf())
@click.option("--dry-run", is_flag=True, help="Compress a few files only, and say what it would save.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def compact(run: Path, *, dry_run: bool, as_json: bool) -> None:
    """Compress what RUN holds as hard as it gets, in place; every value stays what it is, bit for bit.

    Readers need nothing new, and may have the run open meanwhile. Ctrl-C, or a kill, at any moment leaves a
    run that is in order; compacting it again goes on with it. An interrupted run is recovered first.
    """
    from embevo.run.repair.compacting import compact as make_small  # noqa: PLC0415 - zarr loads when it is needed
    from embevo.run.repair.compacting import estimate_compaction  # noqa: PLC0415

    from .progress import measuring  # noqa: PLC0415

    if dry_run:
        found = estimate_compaction(run)
        if as_json:
            click.echo(json.dumps({**vars(found), "path": str(found.path)}, indent=2))
        else:
            click.echo(expected(found))
        return
    with measuring("compacting") as on_rows:
        done = make_small(run, on_rows=on_rows)
    if as_json:
        click.echo(json.dumps({**vars(done), "path": str(done.path)}, indent=2))
    elif not done.rows:
        click.echo("Nothing to do: the run has no block yet.")
    elif not done.compacted:
        click.echo(f"Nothing to do: all {done.rows:,} steps are as small as they get.")
    else:
        look = command_line("embevo", "verify", "--deep", run)
        click.echo(
            f"Compacted {done.compacted:,} steps: {size_of(done.before)} became {size_of(done.after)}. "
            f"To compare every value with what was captured: {look}"
        )


def expected(found: "CompactionEstimate") -> str:
    """What an estimate says, on a line."""
    rest = f" {found.unsealed:,} steps in the journal are not counted." if found.unsealed else ""
    if not found.files:
        return f"Nothing to do: the run is as small as it gets, or has no block yet.{rest}"
    saved = found.before - found.after
    return (
        f"{size_of(found.before)} would become about {size_of(found.after)}: {size_of(saved)} less "
        f"({100 * saved / found.before:.0f} %). That is from {found.sampled:,} of {found.files:,} files, "
        f"which were compressed for it; nothing was changed.{rest}"
    )
