"""``embevo null``: what a run would look like by chance."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .audit import setting
from .paths import PathOf
from .progress import measuring
from .readable import command_line
from .selection import MATRIX_HELP

if TYPE_CHECKING:
    from embevo.analysis.nulls.kinds import Kind

_KINDS = ("brownian", "shuffled-steps", "shuffled-tokens", "adamw-noise")


@click.command()
@click.argument("run", type=PathOf())
@click.option(
    "--kind", type=click.Choice(_KINDS), default="brownian", show_default=True,
    help="What is kept of the run, and what is left to chance.",
)  # fmt: skip
@click.option("--out", type=PathOf(), help="Write one surrogate as a run, there.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random numbers.")
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE",
    help="For adamw-noise: a setting of the optimizer in place of what is recorded; repeatable.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the run that is at --out.")
@click.pass_context
def null(
    ctx: click.Context,
    run: Path,
    *,
    kind: "Kind",
    out: Path | None,
    seed: int,
    matrix: str | None,
    given: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Make a surrogate of RUN, to set its measures against chance.

    brownian: each token takes its recorded step lengths, in random directions. shuffled-steps: all tokens
    take their recorded steps, in another order. shuffled-tokens: trajectories are dealt to other tokens.
    adamw-noise: the run's optimizer steps on noise in the place of gradients.
    """
    if out is None:
        raise click.UsageError("Say where the surrogate goes, with --out.")
    from embevo.analysis.nulls.surrogate_run import write_surrogate  # noqa: PLC0415 - when it is needed

    settings = dict(setting(ctx, text) for text in given)
    with measuring(f"Making a surrogate of {run}") as on_rows:
        made = write_surrogate(
            run, out, kind, seed, matrix=matrix, optimizer=settings, overwrite=overwrite, on_rows=on_rows
        )
    click.echo(f"{made}: {kind} surrogate of {run}, seed {seed}")
    click.echo(f"{command_line('embevo', 'analyze', run, out)} shows them side by side")
