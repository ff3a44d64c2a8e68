"""``embevo diff``: where two recordings part."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from .paths import PathOf
from .progress import measuring

if TYPE_CHECKING:
    from embevo.analysis.differing.difference import ArrayDifference, Difference, FirstDifference

_FORMS: Final = (".png", ".svg", ".pdf", ".csv", ".nc")
# Settings that are shown; the rest is in the JSON.
_SETTINGS: Final = 12
_LONGEST_VALUE: Final = 40
# Steps of the table, spread over all of them.
_ROWS: Final = 7


@click.command()
@click.argument("one", type=PathOf(urls=True), metavar="A")
@click.argument("other", type=PathOf(urls=True), metavar="B")
@click.option(
    "--array", "arrays", multiple=True, metavar="NAME[=OTHER]",
    help="Compare this array of A, with OTHER of B; repeatable. By default all that both have.",
)  # fmt: skip
@click.option("--rotation", is_flag=True, help="Distances up to a rotation, too (orthogonal Procrustes).")
@click.option("--checkpoints", is_flag=True, help="Compare the weights of the last checkpoints.")
@click.option(
    "-o", "--out", type=PathOf(dir_okay=False),
    help="Draw it, a .png, .svg or .pdf; or write the series, a .csv or .nc.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a file of that name that embevo did not make.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it, with the series, as JSON.")
@click.pass_context
def diff(
    ctx: click.Context,
    one: Path | str,
    other: Path | str,
    *,
    arrays: tuple[str, ...],
    rotation: bool,
    checkpoints: bool,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Say where A and B part: the first step, token and element, and how far apart they are from there on.

    A and B are runs, folders of safetensors files or single ones, or Zarr arrays and groups. Steps and tokens
    that only one has are left out, and the output says so. Exits with 0 if every bit of what they share is
    equal, with 1 if not, with 2 if they cannot be compared.
    """
    from embevo.analysis.destination import check_destination  # noqa: PLC0415
    from embevo.analysis.differing.diff import diff as diff_of  # noqa: PLC0415 - zarr, when it is needed

    if out is not None:
        if out.suffix.lower() not in _FORMS:
            raise click.BadParameter(f"name a file that ends in {', '.join(_FORMS)}", param_hint="'--out'")
        check_destination(out, overwrite=overwrite)
    named = dict(_named(text) for text in arrays) or None
    with measuring(f"Comparing {one} and {other}") as on_rows:
        found = diff_of(one, other, arrays=named, rotation=rotation, checkpoints=checkpoints, on_rows=on_rows)
    if out is not None:
        _write(found, out)
    click.echo(json.dumps(found.to_json()) if as_json else "\n".join(_lines(found)))
    ctx.exit(0 if found.is_equal else 1)


def _named(text: str) -> tuple[str, str]:
    name, equals, other = text.partition("=")
    if not name or (equals and not other):
        raise click.BadParameter(f"{text!r} is not NAME or NAME=OTHER", param_hint="'--array'")
    return name, other or name


def _write(found: "Difference", out: Path) -> None:
    from embevo.run.disk.atomic import write_file  # noqa: PLC0415

    form = out.suffix.lower()
    if form == ".csv":
        write_file(out, found.to_csv().encode(), sync=False)
    elif form == ".nc":
        found.to_xarray().to_netcdf(out)
    else:
        from embevo.analysis.differing.figure import draw  # noqa: PLC0415

        drawn: dict[str, Literal["png", "svg", "pdf"]] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
        write_file(out, draw(found, drawn[form]), sync=False)


def _lines(found: "Difference") -> list[str]:
    from embevo.run.format.steps import describe  # noqa: PLC0415

    lines = [
        f"A {found.one} ({found.kinds[0]})",
        f"B {found.other} ({found.kinds[1]})",
        f"{len(found.steps):,} steps that both have: {describe(found.steps.tolist())}",
        "",
    ]
    width = max(len(_called(array)) for array in found.arrays)
    lines += [f"{_called(array):{width}}  {_verdict(found, array)}" for array in found.arrays]
    first = found.first
    if first is None:
        lines += ["", "Every bit of what they share is equal."]
    else:
        lines += ["", *_of_first(*first), "", *_table(found, first[0])]
    if found.remarks:
        lines += ["", *found.remarks]
    if found.settings:
        lines += ["", "Settings that differ:"]
        for setting in found.settings[:_SETTINGS]:
            lines.append(f"  {setting.name}: {_short(setting.one)} | {_short(setting.other)}")
        if len(found.settings) > _SETTINGS:
            lines.append(f"  and {len(found.settings) - _SETTINGS:,} more, which --json prints")
    return lines


def _called(array: "ArrayDifference") -> str:
    return array.name if array.name == array.other_name else f"{array.name} and {array.other_name}"


def _verdict(found: "Difference", array: "ArrayDifference") -> str:
    if array.first is None:
        return "equal"
    if len(found.steps) == 1:
        apart = f"distance {array.distance[0]:.6g}, cosine {array.cosine[0]:.6g}"
        return f"differs: {array.equal[0]:.4%} of its elements have equal bits; {apart}"
    steps = int((array.equal < 1).sum())
    text = f"differs from step {array.first.step:,} on, at {steps:,} of {len(found.steps):,} steps"
    only = []
    if array.zero_signs:
        only.append(f"{array.zero_signs:,} in the sign of zero alone")
    if array.nan_payloads:
        only.append(f"{array.nan_payloads:,} NaNs of other bits")
    return text + (f"; of {array.differing:,} elements {', '.join(only)}" if only else "")


def _of_first(array: "ArrayDifference", first: "FirstDifference") -> list[str]:
    place = "".join(f", {name} {at}" for name, at in first.place.items())
    apart = "" if first.ulps is None else f", {first.ulps:,} ULPs away"
    how = f", and only {first.how} differs" if first.how == "the sign of zero" else ""
    how = f"; both are {first.how}" if first.how.startswith("NaN") else how
    return [
        f"First: step {first.step:,}, {_called(array)}{place}",
        f"  A {first.one}",
        f"  B {first.other}{apart}{how}",
    ]


def _table(found: "Difference", array: "ArrayDifference") -> list[str]:
    """The series of an array at some steps, from the first that differs on."""
    import numpy as np  # noqa: PLC0415 - numpy, when it is needed

    start = int(np.flatnonzero(array.equal < 1)[0])
    rows = np.unique(start + np.geomspace(1, len(found.steps) - start, _ROWS).astype(int) - 1)
    series = array.series()
    heads = {"distance": "distance", "equal": "equal bits", "cosine": "cosine", "rotated": "up to rotation"}
    lines = [f"{_called(array)}:", "step".rjust(12) + "".join(heads[name].rjust(16) for name in series)]
    for row in rows.tolist():
        numbers = {name: float(values[row]) for name, values in series.items()}
        cells = [f"{at:.4%}" if name == "equal" else f"{at:.6g}" for name, at in numbers.items()]
        lines.append(f"{found.steps[row]:>12,}" + "".join(cell.rjust(16) for cell in cells))
    return lines


def _short(value: str | None) -> str:
    if value is None:
        return "not said"
    return value if len(value) <= _LONGEST_VALUE else f"{value[: _LONGEST_VALUE - 4]} ..."
