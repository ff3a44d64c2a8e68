"""``embevo view``: a page in which runs are replayed."""

import webbrowser
from pathlib import Path
from threading import Thread

import click

from .paths import PathOf
from .selection import MATRIX_HELP


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PathOf(), metavar="RUN...")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="To listen on; by default a free one.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option(
    "--export", "folder", type=PathOf(file_okay=False), metavar="DIR",
    help="Write the page and its data into a folder, for any web server, and end.",
)  # fmt: skip
def view(
    runs: tuple[Path, ...], *, port: int, no_browser: bool, matrix: str | None, folder: Path | None
) -> None:
    """Show how the tokens of RUN move, in a browser; of several runs side by side.

    The page is served to this machine alone, under an address that nobody can guess. A run that is being
    recorded keeps growing on it. Ctrl-C ends the server.
    """
    from embevo.viewer.server import Viewer  # noqa: PLC0415 - loaded when it is needed
    from embevo.viewer.site import Site  # noqa: PLC0415

    site = Site(runs, matrix)
    if folder is not None:
        from embevo.errors import DestinationError  # noqa: PLC0415
        from embevo.viewer.export import export  # noqa: PLC0415 - loaded when it is needed

        from .progress import measuring  # noqa: PLC0415
        from .readable import size_of  # noqa: PLC0415

        try:
            with measuring("Writing") as on_file:
                total = export(site, folder, on_file)
        except OSError as error:
            raise DestinationError(
                f"the page cannot be written: {error.filename or folder}: {error.strerror}. What was written "
                "of it is removed again. Make room, or name another directory with --export."
            ) from error
        click.echo(f"Wrote {folder} ({size_of(total)}): a web server shows it, such as "
                   f"python3 -m http.server -d {folder}")  # fmt: skip
        return
    viewer = Viewer(site, port)
    # While the browser starts.
    Thread(target=site.prepare, name="embevo-first-picture", daemon=True).start()
    click.echo(f"{viewer.url}\nCtrl-C ends it.")
    if not no_browser:
        webbrowser.open(viewer.url)
    try:
        viewer.serve()
    except KeyboardInterrupt:
        click.echo("Ended.")
