"""``embevo report``: what became of a run, or of several, on one page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .paths import PathOf
from .selection import JUDGE_HELP, MATRIX_HELP

if TYPE_CHECKING:
    from embevo.analysis import Analysis
    from embevo.analysis.nulls.distribution import NullDistribution

# Runs that are replayed in a report, how many bytes of each, and up to which vocabulary.
_REPLAYED: Final = 2
_BYTES: Final = 1 << 20
_MOST_TOKENS: Final = 8192


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PathOf(), metavar="RUN...")
@click.option(
    "-o", "--out", type=PathOf(dir_okay=False), default="report.html", show_default=True,
    help="The page.",
)  # fmt: skip
@click.option(
    "--threshold", "thresholds", multiple=True, metavar="NAME=VALUE",
    help="Decide by another threshold; repeatable. embevo analyze --thresholds lists them.",
)  # fmt: skip
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option("--judge", is_flag=True, help=JUDGE_HELP)
@click.option(
    "--null", "nulls", multiple=True, type=PathOf(exists=True, dir_okay=False), metavar="FILE",
    help="Show a number beside what chance makes of it, as embevo null --json has printed it; repeatable.",
)  # fmt: skip
@click.option(
    "--replay/--no-replay", default=True, show_default="--replay",
    help="Have a page in the report in which the runs are replayed.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a file of this name that embevo did not make.")
def report(
    runs: tuple[Path, ...],
    *,
    out: Path,
    thresholds: tuple[str, ...],
    matrix: str | None,
    judge: bool,
    nulls: tuple[Path, ...],
    replay: bool,
    overwrite: bool,
) -> None:
    """Write a page about RUN: verdicts, key numbers, figures, settings.

    It is one file that needs no other and no network. A run with normal and one with singular initialisation
    are shown side by side; so are any others.
    """
    from embevo.analysis import Thresholds, analyze  # noqa: PLC0415
    from embevo.analysis.destination import check_destination  # noqa: PLC0415
    from embevo.analysis.report.page import report as page_of  # noqa: PLC0415
    from embevo.run.disk.atomic import write_file  # noqa: PLC0415

    from .progress import analysing, measuring  # noqa: PLC0415
    from .readable import size_of  # noqa: PLC0415

    check_destination(out, overwrite=overwrite)
    limits = Thresholds.parse(thresholds)
    beside = {str(path): _null(path) for path in nulls}
    analyses = []
    for run in runs:
        with analysing(run) as told:
            analyses.append(analyze(run, limits, matrix=matrix, judge=judge, **told))
    with measuring("Drawing") as on_figure:
        page = page_of(
            analyses,
            out=out.name,
            replay=_replay(analyses, matrix) if replay else "",
            nulls=beside,
            on_figure=on_figure,
        ).encode()
    write_file(out, page, sync=False)
    click.echo(f"Wrote {out} ({size_of(len(page))})")


def _null(path: Path) -> "NullDistribution":
    """What chance makes of a number, from a file."""
    from embevo.analysis.nulls.distribution import NullDistribution  # noqa: PLC0415 - when it is needed
    from embevo.errors import ArgumentError  # noqa: PLC0415

    try:
        return NullDistribution.from_json(json.loads(path.read_bytes()))
    except (ArgumentError, ValueError, OSError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--null") from error


def _replay(analyses: "Sequence[Analysis]", matrix: str | None) -> str:
    """The page of the first runs; empty for vocabularies that would make the report too large."""
    from embevo.viewer.export import single_page  # noqa: PLC0415 - loaded when it is needed
    from embevo.viewer.site import Site  # noqa: PLC0415

    first = list({analysis.run_path: analysis for analysis in analyses}.values())[:_REPLAYED]
    if max(analysis.summary["tokens"] for analysis in first) > _MOST_TOKENS:
        return ""
    site = Site([analysis.run_path for analysis in first], matrix, most_bytes=_BYTES)
    return single_page(site)
