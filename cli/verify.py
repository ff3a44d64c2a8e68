"""``embevo verify``: is the run what was written, and is it all there?"""

import json
import tempfile
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from .paths import PathOf
from .readable import command_line

# After which a storage that does not answer is given up.
_PATIENCE_SECONDS: Final = 60


@click.command()
@click.argument("run", type=PathOf(urls=True))
@click.option("--deep", is_flag=True, help="Decode every block and compare every matrix, not only ten steps.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def verify(ctx: click.Context, run: Path | str, *, deep: bool, as_json: bool) -> None:
    """Compare every file of RUN with its checksum, and its steps with what was asked for.

    A run at a URL, such as s3://bucket/prefix, is brought into a directory for temporary files first, whole.
    Exits with 0 if all is well, with 1 if anything is wrong, or if captured steps may lie in a journal that
    is not here.
    """
    from embevo.run.format.steps import describe_ranges  # noqa: PLC0415
    from embevo.run.paths import snapshot_name  # noqa: PLC0415 - numpy and zarr load when they are needed
    from embevo.run.repair.verification import verify as check  # noqa: PLC0415

    if isinstance(run, str):
        from embevo.run.mirroring.pulling import pull  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="embevo-") as directory:
            found = check(pull(run, Path(directory) / "run", patience=_PATIENCE_SECONDS), deep=deep)
    else:
        found = check(run, deep=deep)
    steps = found.steps.tolist()
    if as_json:
        click.echo(
            json.dumps(
                {
                    "run": str(run),
                    "ok": found.ok,
                    "steps": len(steps),
                    "expected": found.expected,
                    "missing": found.missing,
                    "in_journal_only": found.tail_rows,
                    "checked_files": found.checked_files,
                    "compared_steps": found.compared_steps,
                    "problems": [vars(problem) for problem in found.problems],
                    "notes": found.notes,
                },
                indent=2,
            )
        )
        ctx.exit(0 if found.ok else 1)
    console = Console()
    facts = Table.grid(padding=(0, 2))
    expected = "" if found.expected is None else f" of {found.expected:,} expected"
    facts.add_row("Steps", f"{len(steps):,}{expected}")
    if steps:
        facts.add_row("First", ", ".join(snapshot_name(step) for step in steps[:5]))
        facts.add_row("Last", ", ".join(snapshot_name(step) for step in steps[-5:]))
    facts.add_row("Gaps", describe_ranges(found.missing) or "none")
    facts.add_row("Checksums", f"{found.checked_files:,} files compared")
    facts.add_row("Values", f"{found.compared_steps:,} steps decoded and compared bit for bit")
    console.print(facts)
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    for problem in found.problems:
        block = "" if problem.block is None else f" (block {problem.block})"
        where = f" [steps {problem.steps}]" if problem.steps else ""
        console.print(f"WRONG: {problem.file}{block} {problem.what}{where}", markup=False, style="red")
    if found.ok:
        console.print("All is as it was written.", style="green")
    else:
        count = len(found.problems)
        mend = f"{command_line('embevo', 'recover', run)} rebuilds what can be rebuilt."
        if isinstance(run, str):
            mend = "embevo push from where the run is sends it again."
        console.print(f"{count} problem{'' if count == 1 else 's'}. {mend}", markup=False, soft_wrap=True)
    ctx.exit(0 if found.ok else 1)
