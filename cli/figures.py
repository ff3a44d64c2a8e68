"""``embevo figures``: the figures of a run as files."""

from pathlib import Path
from typing import Literal

import click

from .paths import PathOf
from .selection import MATRIX_HELP

_FORMATS = ("png", "svg", "pdf")


@click.command()
@click.argument("run", type=PathOf())
@click.option("--format", "form", type=click.Choice(_FORMATS), default="png", show_default=True)
@click.option(
    "--out",
    type=PathOf(file_okay=False),
    help="Folder for the files; made if it is not there. By default RUN/figures.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Draw this figure only; repeatable.")
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option("--overwrite", is_flag=True, help="Replace files of these names that embevo did not make.")
def figures(
    run: Path,
    *,
    form: Literal["png", "svg", "pdf"],
    out: Path | None,
    only: tuple[str, ...],
    matrix: str | None,
    overwrite: bool,
) -> None:
    """Draw the figures of RUN: loss, cloud, radius, distinct vectors, motion and more, one a file.

    The same run gives the same bytes. Figures that embevo made before are replaced.
    """
    from embevo.analysis import analyze  # noqa: PLC0415
    from embevo.analysis.figures.catalogue import NAMES  # noqa: PLC0415
    from embevo.analysis.figures.saving import check_folder, save_figures  # noqa: PLC0415

    from .progress import analysing, measuring  # noqa: PLC0415

    for name in only:
        if name not in NAMES:
            raise click.BadParameter(f"no figure is called {name!r}; there are {', '.join(NAMES)}")
    names = only or NAMES
    folder = run / "figures" if out is None else out
    if run.is_dir():
        check_folder(folder, form, names, overwrite=overwrite)
    with analysing(run) as told:
        analysis = analyze(run, matrix=matrix, **told)
    with measuring("Drawing") as on_figure:
        saved = save_figures(analysis, folder, form, names, overwrite=overwrite, on_figure=on_figure)
    for figure in saved:
        click.echo(f"{figure.path}" if figure.path else f"{figure.name}: not drawn, {figure.remarks[0]}")
