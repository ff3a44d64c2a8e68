"""``embevo audit``: does every recorded step follow from the one before, to the last bit?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .paths import PathOf
from .progress import measuring

if TYPE_CHECKING:
    from embevo.analysis.auditing.findings import Audit


@click.command()
@click.argument("run", type=PathOf())
@click.option(
    "--array", metavar="NAME", help="Which recorded parameter; by default embeddings, or the first array."
)
@click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE",
    help="A setting of the optimizer in place of what is recorded, such as weight_decay=0; repeatable.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def audit(ctx: click.Context, run: Path, *, array: str | None, given: tuple[str, ...], as_json: bool) -> None:
    """Compute every step of RUN again with torch's own optimizer, and compare all bits.

    Needs the gradient; with recorded moments every step is computed from the one before it, and without them
    they are carried on from step 0. Exits with 0 if every bit is explained, with 1 if not, with 2 if RUN
    cannot be audited.
    """
    from embevo.analysis.auditing.audit import audit as audit_run  # noqa: PLC0415 - torch, when it is needed

    settings = dict(setting(ctx, text) for text in given)
    with measuring(f"Computing {run} again") as on_rows:
        found = audit_run(run, array=array, optimizer=settings, on_rows=on_rows)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(_lines(found)))
    ctx.exit(0 if found.explained else 1)


def setting(ctx: click.Context, text: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value as JSON where it is any; click.BadParameter for anything else."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(
            f"{text!r} is not NAME=VALUE, such as weight_decay=0", ctx, param_hint="'--set'"
        )
    try:
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return name, value


def _lines(found: "Audit") -> list[str]:
    """What fits on one screen."""
    from embevo.run.format.steps import describe  # noqa: PLC0415

    settings = found.settings
    stepped = f"{found.array}, stepped by {settings.kind} ({found.said})"
    lines = [
        found.run_path,
        f"{stepped}, weight decay {settings.weight_decay:g}; moments: {found.moments}",
        "",
    ]
    count = len(found.steps)
    for name, of in found.implementations.items():
        best = "  <- explains most" if name == settings.implementation else ""
        lines.append(
            f"{name:8} {of.steps:>9,} of {count:,} steps to the last bit, {of.share:.4%} of elements{best}"
        )
    lines.append("")
    if found.explained:
        lines.append(f"Every bit of steps {found.steps[0]:,} to {found.steps[-1]:,} is explained.")
    if found.first is not None:
        first = found.first
        place = ", ".join(f"{name} {at}" for name, at in first.place.items())
        unequal = [int(step) for step, share in zip(found.steps, found.shares, strict=True) if share < 1]
        lines += [
            f"NOT explained: {len(unequal):,} of {count:,} steps ({describe(unequal)}).",
            f"First: step {first.step:,}, {first.array}, {place}",
            f"  recorded {first.recorded}",
            f"  computed {first.computed}, {first.ulps:,} ULPs away",
            f"Largest difference: {found.largest_ulps:,} ULPs.",
            found.finding.sentence if found.finding is not None else "No known cause explains it.",
        ]
    for why, steps in found.left_out.items():
        lines.append(f"Not computed again: {len(steps):,} steps ({describe(steps)}): {why}.")
    if found.unstepped:
        lines.append(f"Without a gradient, and so not stepped: {len(found.unstepped):,} steps.")
    return lines
