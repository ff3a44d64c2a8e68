"""``embevo animate``: the cloud of a run as a film."""

from pathlib import Path

import click

from .paths import PathOf
from .selection import MATRIX_HELP


@click.command()
@click.argument("run", type=PathOf())
@click.option("-o", "--out", required=True, type=PathOf(dir_okay=False), help="An .mp4 or a .gif.")
@click.option(
    "--frames", type=click.IntRange(2, 100_000), default=240, show_default=True, help="Steps shown."
)
@click.option("--from", "first", type=click.IntRange(0), metavar="STEP", help="The first step that is shown.")
@click.option("--to", "last", type=click.IntRange(0), metavar="STEP", help="The last step that is shown.")
@click.option("--fps", type=click.IntRange(1, 60), default=24, show_default=True, help="Of them a second.")
@click.option("--labels", is_flag=True, help="Name the frequent tokens, where there is room.")
@click.option(
    "--magnify",
    type=float,
    default=1.0,
    show_default=True,
    metavar="TIMES",
    help="Enlarge each token's way from its first place, so many times; the film says so.",
)
@click.option(
    "--from-start",
    is_flag=True,
    help="Show each token's displacement from its first place instead of its place.",
)
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option("--overwrite", is_flag=True, help="Replace a file of this name that embevo did not make.")
def animate(
    run: Path,
    *,
    out: Path,
    frames: int,
    first: int | None,
    last: int | None,
    fps: int,
    labels: bool,
    magnify: float,
    from_start: bool,
    matrix: str | None,
    overwrite: bool,
) -> None:
    """Make a film of RUN: where every token is, in the plane in which the last cloud is widest.

    The steps shown are evenly spaced in the logarithm. An .mp4 needs ffmpeg, which embevo[animate] brings.
    """
    from embevo.analysis import analyze  # noqa: PLC0415
    from embevo.analysis.destination import check_destination  # noqa: PLC0415
    from embevo.analysis.film.animation import animate as film  # noqa: PLC0415
    from embevo.analysis.film.encoding import find_ffmpeg, suffix_of  # noqa: PLC0415
    from embevo.analysis.film.view import View  # noqa: PLC0415

    from .progress import analysing, measuring  # noqa: PLC0415
    from .readable import size_of  # noqa: PLC0415

    view = View(magnify, from_start)
    # Before the run is measured: what cannot be written is not worth the wait.
    if suffix_of(out) == ".mp4":
        find_ffmpeg()
    check_destination(out, overwrite=overwrite)
    with analysing(run) as told:
        analysis = analyze(run, matrix=matrix, **told)
    recorded = analysis.series["step"].to_numpy()
    between = (int(recorded[0]) if first is None else first, int(recorded[-1]) if last is None else last)
    with measuring("Filming") as on_frame:
        shown = film(
            analysis, out, frames=frames, fps=fps, labels=labels, view=view, between=between,
            on_frame=on_frame,
        )  # fmt: skip
    click.echo(f"Wrote {out}: {shown:,} steps ({size_of(out.stat().st_size)})")
