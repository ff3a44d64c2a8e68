"""``embevo explain``: why a token moved, and why it stopped."""

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from .audit import setting
from .paths import PathOf
from .progress import measuring
from .selection import MATRIX_HELP, TokenChoice, token_choice

if TYPE_CHECKING:
    from embevo.analysis.explaining.explanation import Explanation

_WINDOWS: Final = 8
_ELEMENTS: Final = 8


@click.command()
@click.argument("run", type=PathOf())
@click.option("--token", required=True, metavar="TOKEN", callback=token_choice, help="Its id, or its text.")
@click.option("--step", type=click.IntRange(0), metavar="N", help="One step, element by element.")
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE",
    help="A setting of the optimizer in place of what is recorded, such as weight_decay=0; repeatable.",
)  # fmt: skip
@click.option("-o", "--out", type=PathOf(dir_okay=False), help="Draw it: a .png, .svg or .pdf.")
@click.option("--overwrite", is_flag=True, help="Replace a file of that name that embevo did not make.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers of every step as JSON.")
@click.pass_context
def explain(
    ctx: click.Context,
    run: Path,
    *,
    token: TokenChoice,
    step: int | None,
    matrix: str | None,
    given: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Tell the story of one token of RUN: what each step asked of it, and what its dtype kept.

    Needs the gradient, and the moments if the optimizer keeps any. Lengths are in embedding units; reach is
    the largest attempt of an element in halves of the gap to its next number: under 1 all is rounded away.
    """
    from embevo.analysis.destination import check_destination  # noqa: PLC0415
    from embevo.analysis.explaining.explain import explain as explain_token  # noqa: PLC0415
    from embevo.run.reading.reader import open_run  # noqa: PLC0415

    form = _form(out)
    settings = dict(setting(ctx, text) for text in given)
    opened = open_run(run)
    chosen = token.ids_in(opened.token_names)
    if len(chosen) != 1:
        raise click.BadParameter("name one token", param_hint="'--token'")
    if out is not None:
        check_destination(out, overwrite=overwrite)
    with measuring(f"Reading {run}") as on_rows:
        found = explain_token(opened, chosen[0], array=matrix, optimizer=settings, on_rows=on_rows)
    if step is not None and step not in found.steps:
        raise click.BadParameter(f"no update that leads to step {step} is recorded", param_hint="'--step'")
    if out is not None:
        from embevo.analysis.explaining.figure import draw  # noqa: PLC0415

        out.write_bytes(draw(found, form))
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    click.echo("\n".join(_story(found) if step is None else _of_step(found, step)))


def _form(out: Path | None) -> Literal["png", "svg", "pdf"]:
    match "" if out is None else out.suffix.lower():
        case ".svg":
            return "svg"
        case ".pdf":
            return "pdf"
        case "" | ".png":
            return "png"
    raise click.BadParameter("name a file that ends in .png, .svg or .pdf", param_hint="'--out'")


def _story(found: "Explanation") -> "list[str]":
    import numpy as np  # noqa: PLC0415 - numpy, when it is needed

    names = ("attempted", "gradient", "momentum", "decay", "common", "realised")
    lines = [
        f"{found.run_path}: token {found.token} ({found.label}) of {found.array}, {found.dtype}",
        "",
        "steps".rjust(15) + "".join(name.rjust(11) for name in names) + "  stagnant     reach",
    ]
    edges = np.unique(np.geomspace(1, len(found.steps) + 1, _WINDOWS + 1).astype(int)) - 1
    for start, end in pairwise(edges.tolist()):
        rows = slice(start, end)
        span = f"{found.steps[start]:,}..{found.steps[end - 1]:,}"
        sizes = [float(np.linalg.norm(getattr(found, name)[rows], axis=1).mean()) for name in names]
        lines.append(
            span.rjust(15)
            + "".join(f"{size:11.3g}" for size in sizes)
            + f"{found.stagnant[rows].mean():10.0%}{found.reach[rows].max():10.3g}"
        )
    outward = float(found.radial.sum())
    if found.by_input is not None and found.by_output is not None:
        known = np.isfinite(found.by_input).all(axis=1) & np.isfinite(found.by_output).all(axis=1)
        ways = [float(np.linalg.norm(of[known], axis=1).mean()) for of in (found.by_input, found.by_output)]
        lines += [
            "",
            f"Of its gradient {ways[0]:.3g} came by looking it up and {ways[1]:.3g} by the head, on average.",
        ]
    lines += [
        "",
        f"Along the vector {outward:+.3g} was attempted in all, across it {found.tangential.sum():.3g}.",
        "It never moved." if found.last_moved is None else f"It last moved at step {found.last_moved:,}.",
    ]
    if found.stuck_from is None:
        lines.append("At the last step it can still move: an attempt reaches half a gap.")
    else:
        lines.append(
            f"From step {found.stuck_from:,} on it cannot move: no attempt reaches half the gap to the next "
            f"{found.dtype}; the largest is {found.margin:.3g} of it."
        )
    return lines


def _of_step(found: "Explanation", step: int) -> list[str]:
    import numpy as np  # noqa: PLC0415

    row = int(np.searchsorted(found.steps, step))
    names = ("gradient", "momentum", "decay", "attempted", "realised", "half_gap")
    common, own = (float(np.linalg.norm(of[row])) for of in (found.common, found.own))
    lines = [
        f"{found.run_path}: token {found.token} ({found.label}) of {found.array} at step {step:,}",
        "",
        "dim".rjust(6) + "weight".rjust(12) + "".join(name.rjust(12) for name in names),
    ]
    ratios = np.abs(found.attempted[row]) / found.half_gap[row]
    for dim in np.argsort(-ratios)[:_ELEMENTS]:
        numbers = [found.weights[row, dim], *(getattr(found, name)[row, dim] for name in names)]
        lines.append(f"{dim:6}" + "".join(f"{number:12.4g}" for number in numbers))
    lines += [
        "",
        f"{found.stagnant[row]:.0%} of its elements were asked for less than half a gap.",
        f"The largest attempt was {found.reach[row]:.3g} of it.",
        f"Along the vector {found.radial[row]:+.3g}, across it {found.tangential[row]:.3g}.",
        f"All tokens have {common:.3g} in common; its own is {own:.3g}.",
    ]
    return lines
