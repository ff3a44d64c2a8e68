"""``embevo push``: send a run to object storage."""

import json
from pathlib import Path

import click

from . import shared_options
from .paths import PathOf
from .readable import command_line, size_of


@click.command()
@click.argument("run", type=PathOf())
@click.argument("url")
@click.option("--verify", "read_back", is_flag=True, help="Read everything back and compare its checksums.")
@shared_options.patience
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def push(run: Path, url: str, *, read_back: bool, patience: float, as_json: bool) -> None:
    """Send what RUN has sealed to URL, such as s3://bucket/prefix, from where it stopped.

    What is there is compared with the manifest and not sent again; killed at any moment, it goes on when it
    is called again, and what is there is a part of the run always. What is not sealed is not sent, and is
    said. Credentials are taken from the environment. Needs embevo[cloud].
    """
    from embevo.run.cloud.bucket import Bucket  # noqa: PLC0415 - numpy and zarr load when they are needed
    from embevo.run.cloud.patience import Patience  # noqa: PLC0415
    from embevo.run.mirroring.pushing import Pusher  # noqa: PLC0415
    from embevo.run.paths import RunPaths  # noqa: PLC0415
    from embevo.run.reading.reader import open_run  # noqa: PLC0415

    from .progress import measuring  # noqa: PLC0415

    # What cannot be read here is not begun there.
    here = open_run(run)
    bucket = Bucket(url, Patience(patience))
    with measuring("sending") as on_rows:
        pusher = Pusher(RunPaths(run), bucket, on_rows)
        rows = pusher.push()
        compared = pusher.compare() if read_back else 0
    here.refresh()
    unsealed = len(here.steps) + len(here.unproven_steps) - rows
    if as_json:
        found = {"run": str(run), "url": bucket.url, "steps": rows, "sent": pusher.sent_bytes}
        found = {**found, "compared": compared, "in_journal_only": unsealed}
        click.echo(json.dumps({**found, "journal_elsewhere": here.journal_elsewhere}, indent=2))
        return
    click.echo(f"{bucket.url} shows {rows:,} steps; {size_of(pusher.sent_bytes)} were sent now.")
    if unsealed > 0 or here.journal_elsewhere:
        what = here.journal_elsewhere or f"{unsealed:,} more steps, which are not sealed"
        seal = command_line("embevo", "recover", run)
        click.echo(
            f"NOT SENT: {what}. If nobody records {run} any more, {seal} seals what is here; then push again."
        )
    if read_back:
        click.echo(f"{compared:,} objects were read back, and are what was written.")
