"""``embevo null``: what a run would look like by chance."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .audit import setting
from .paths import PathOf
from .progress import measuring
from .readable import command_line
from .selection import MATRIX_HELP

if TYPE_CHECKING:
    from embevo.analysis.nulls.distribution import NullDistribution
    from embevo.analysis.nulls.judged import Chances
    from embevo.analysis.nulls.kinds import Kind
    from embevo.analysis.verdicts.verdict import Outcome

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
@click.option(
    "--measure", metavar="NAME",
    help="A number of the summary, such as exponents.centroid.all.value: what it is of many surrogates.",
)  # fmt: skip
@click.option(
    "--verdicts", is_flag=True,
    help="Judge many surrogates, and say how often chance alone supports or refutes each prediction.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), default=1000, show_default=True, help="How many to measure.")
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON, with every number.")
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
    measure: str | None,
    verdicts: bool,
    count: int,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Make a surrogate of RUN, to set its measures against chance.

    brownian: each token takes its recorded step lengths, in random directions. shuffled-steps: all tokens
    take their recorded steps, in another order. shuffled-tokens: trajectories are dealt to other tokens.
    adamw-noise: the run's optimizer steps on noise in the place of gradients.
    """
    settings = dict(setting(ctx, text) for text in given)
    if verdicts:
        if measure is not None or out is not None or matrix is not None:
            raise click.UsageError("--verdicts judges in memory, and the embeddings: leave out the others.")
        from embevo.analysis.nulls.judged import judged_surrogates  # noqa: PLC0415 - when it is needed

        with measuring(f"Judging surrogates of {run}") as on_rows:
            chances = judged_surrogates(run, kind, count, seed, optimizer=settings, on_rows=on_rows)
        click.echo(json.dumps(chances.to_json(), indent=2) if as_json else "\n".join(_chances(run, chances)))
        return
    if measure is not None:
        if out is not None:
            raise click.UsageError("--measure measures in memory, and --out writes a run: choose one.")
        from embevo.analysis.nulls.distribution import null_distribution  # noqa: PLC0415 - when it is needed

        with measuring(f"Measuring surrogates of {run}") as on_rows:
            found = null_distribution(
                run, measure, kind, count, seed, matrix=matrix, optimizer=settings, on_rows=on_rows
            )
        click.echo(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(_lines(run, found)))
        return
    if out is None:
        raise click.UsageError(
            "Say where a surrogate goes, --out, or what of many to measure, --measure or --verdicts."
        )
    from embevo.analysis.nulls.surrogate_run import write_surrogate  # noqa: PLC0415

    with measuring(f"Making a surrogate of {run}") as on_rows:
        made = write_surrogate(
            run, out, kind, seed, matrix=matrix, optimizer=settings, overwrite=overwrite, on_rows=on_rows
        )
    click.echo(f"{made}: {kind} surrogate of {run}, seed {seed}")
    click.echo(f"{command_line('embevo', 'analyze', run, out)} shows them side by side")


def _chances(run: Path, found: "Chances") -> list[str]:
    from embevo.analysis.verdicts.thresholds import Thresholds  # noqa: PLC0415 - when it is needed
    from embevo.run.reading.reader import open_run  # noqa: PLC0415

    outcomes: tuple[Outcome, ...] = ("supported", "refuted", "undecided")
    intervals, least = len(open_run(run).steps) - 1, Thresholds().min_steps
    short = f"The run has {intervals:,} steps: below {least:,.0f} most predictions stay undecided."
    head = f"{found.count:,} {found.kind} surrogates of {run} (seed {found.seed}), judged:"
    return [
        head,
        *(
            f"  {name} {prediction}: "
            + ", ".join(f"{found.share(name, outcome):.1%} {outcome}" for outcome in outcomes)
            for name, prediction in found.predictions.items()
        ),
        *([short] if intervals < least else []),
    ]


def _lines(run: Path, found: "NullDistribution") -> list[str]:
    shares = (0.0, 0.025, 0.5, 0.975, 1.0)
    names = ("smallest", "2.5 %", "median", "97.5 %", "largest")
    ranks = f"{found.below:,} of {found.known:,} {found.kind} surrogates (seed {found.seed}) are smaller"
    equal = f", {found.equal:,} equal" if found.equal else ""
    lines = [
        f"{found.measure} of {run}: {found.value:.6g}",
        f"{ranks}{equal}.",
        *(f"  {name:8} {at:.6g}" for name, at in zip(names, found.quantiles(*shares), strict=True)),
        f"By chance as small or smaller: p = {found.p_low:.3g}; as large or larger: p = {found.p_high:.3g}.",
    ]
    missing = len(found.values) - found.known
    return [*lines, f"{missing:,} surrogates have no such number, and are left out."] if missing else lines
