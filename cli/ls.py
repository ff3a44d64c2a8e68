"""``embevo ls``: the runs below a folder."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from .paths import PathOf
from .readable import size_of


@click.command()
@click.argument("folder", default=".", type=PathOf(exists=True, file_okay=False))
@click.option("--depth", default=3, show_default=True, type=click.IntRange(0), help="How many levels below.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, one run a line.")
def ls(folder: Path, depth: int, as_json: bool) -> None:
    """List the runs below FOLDER (by default the current one).

    What is not a run is passed over; a run that cannot be opened is listed with the reason.
    """
    from embevo.run.reading.summary import BrokenRun, find_runs  # noqa: PLC0415 - zarr is loaded when it is needed

    if as_json:
        for found in find_runs(folder, depth=depth):
            fields = {**asdict(found), "state": "broken"} if isinstance(found, BrokenRun) else found.to_json()
            click.echo(json.dumps(fields))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "state", "steps", "last", "shape", "dtype", "store", "size"):
        table.add_column(name, justify="right" if name in {"steps", "last", "size"} else "left")
    broken: list[BrokenRun] = []
    for found in find_runs(folder, depth=depth):
        name = Path(found.path).relative_to(folder.absolute()).as_posix()
        if isinstance(found, BrokenRun):
            table.add_row(Text(name), Text("broken", "red"))
            broken.append(found)
            continue
        table.add_row(
            Text(name),
            found.state,
            f"{found.rows:,}",
            "" if found.last_step is None else f"{found.last_step:,}",
            "x".join(map(str, found.shape[1:])),
            ", ".join(dict.fromkeys(matrix.dtype for matrix in found.matrices)),
            found.store,
            size_of(found.total_bytes),
        )
    if not table.row_count:
        click.echo(f"No runs in {folder}, nor {depth} levels below it.")
        return
    Console(highlight=False).print(table)
    for run in broken:
        click.echo(f"broken: {run.reason}")
