"""``embevo sweep``: the runs of a grid, each trained, resumed or skipped as its state asks for."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .analyze import analyze as analyze_command
from .output import go_on_without_output, say_if_output_failed
from .paths import PathOf
from .readable import size_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from embevo.experiment.grid import GridRun
    from embevo.experiment.sweep import Status, Sweep

    from .sweep_workers import Workers

_SIGNALLED: Final = 128
_LOOK_SECONDS: Final = 0.5
# States of runs that nothing is done about unless somebody asks for it.
_TO_SEE_TO: Final = ("failed", "unknown")


@click.command()
@click.argument("grid", type=PathOf(), metavar="GRID.toml")
@click.option("--out", type=PathOf(), help="Directory of the runs.  [default: runs/GRID]")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Train N runs at once.  [default: 1; with --dask the threads of the workers, with --slurm all]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Of each run; kept, because another number gives other bits.  [default: the cores among the jobs]",
)
@click.option(
    "--resumes", type=click.IntRange(0), default=5, show_default=True, metavar="N",
    help="Resume a run whose process is killed at most N times.",
)  # fmt: skip
@click.option("--dask", metavar="ADDRESS", help="Train on the workers of the Dask scheduler there.")
@click.option("--slurm", is_flag=True, help="Train in jobs of Slurm.")
@click.option(
    "--slurm-option", "slurm_options", multiple=True, metavar="KEY=VALUE",
    help="Of each job, as submitit has them: timeout_min (needed), partition, mem_gb, cpus_per_task, ...",
)  # fmt: skip
@click.option("--retry", is_flag=True, help="Train those again that failed.")
@click.option("--status", "only_status", is_flag=True, help="Show the states and change nothing.")
@click.option("--dry-run", is_flag=True, help="Say what would be trained, and what it takes on the disk.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="N",
    help="With --dry-run: say how long it takes at N steps a second of each run.",
)  # fmt: skip
@click.option("--analyze/--no-analyze", default=True, help="In the end, measure the runs and compare them.")
@click.option("--json", "as_json", is_flag=True, help="Print the states as JSON, and no analysis.")
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    *,
    grid: Path,
    out: Path | None,
    jobs: int | None,
    threads: int | None,
    resumes: int,
    dask: str | None,
    slurm: bool,
    slurm_options: tuple[str, ...],
    retry: bool,
    only_status: bool,
    dry_run: bool,
    rate: float | None,
    analyze: bool,
    as_json: bool,
) -> None:
    """Train every combination of the settings in GRID.toml, each as a run of its own.

    Runs that are complete and whole are skipped, interrupted ones resumed. Ctrl-C stops all of them with
    everything captured sealed; the same command goes on.

    Exits with 0 if all runs are complete, with 1 if one of them failed, or is left because nobody can tell
    whether somebody writes it.
    """
    if rate is not None and not dry_run:
        raise click.UsageError("--rate is for --dry-run: a training is as fast as it is.")
    if dask is not None and slurm:
        raise click.UsageError("--dask and --slurm both say where runs are trained: give one of them.")
    if slurm_options and not slurm:
        raise click.UsageError("--slurm-option is for --slurm, which is not given.")
    from rich.console import Console  # noqa: PLC0415 - loaded when they are needed, zarr above all

    from embevo.experiment.grid import load_grid  # noqa: PLC0415
    from embevo.experiment.sweep import Sweep  # noqa: PLC0415

    planned = Sweep(out or Path("runs") / grid.stem, load_grid(grid))
    console = Console(quiet=as_json)
    if only_status or dry_run:
        found = planned.statuses()
    else:
        _make(planned.out)
        if not as_json:
            # A reader that has gone, or a log on a full disk, is no reason to stop training.
            go_on_without_output()
        workers = _workers(planned, jobs=jobs, threads=threads, dask=dask, slurm=slurm, options=slurm_options)
        found = _trained(ctx, console, planned, workers, threads=threads, resumes=resumes, retry=retry)
        if analyze and not as_json and all(status.state == "complete" for status in found):
            ctx.invoke(analyze_command, runs=tuple(planned.path(run) for run in planned.runs))
    if as_json:
        click.echo(json.dumps({"runs": [status.to_json() for status in found]}, indent=2))
    elif only_status or dry_run:
        _print(console, found)
        if dry_run:
            _print_plan(console, planned, found, None if rate is None else rate * (jobs or 1))
    say_if_output_failed("What has become of the runs is shown by --status.")
    ctx.exit(1 if any(status.state in _TO_SEE_TO for status in found) else 0)


def _make(folder: Path) -> None:
    """Make the directory of the runs."""
    from embevo.errors import SweepError  # noqa: PLC0415
    from embevo.run.paths import RunPaths  # noqa: PLC0415
    from embevo.run.repair.recovery import has_run  # noqa: PLC0415

    if has_run(RunPaths(folder)):
        raise SweepError(
            f"{folder} is a run, and the runs of a sweep lie side by side: choose another --out."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(
            f"cannot make {folder} for the runs: {error.strerror}. Mend that, or choose another directory "
            "with --out."
        ) from error


def _workers(
    planned: "Sweep",
    *,
    jobs: int | None,
    threads: int | None,
    dask: str | None,
    slurm: bool,
    options: tuple[str, ...],
) -> "AbstractContextManager[Workers]":
    """Who train the runs; nobody is asked anything before that is entered."""
    if dask is not None:
        from .sweep_dask import dask_workers  # noqa: PLC0415

        return dask_workers(dask, jobs, planned.out)
    if slurm:
        from .sweep_slurm import slurm_workers  # noqa: PLC0415

        return slurm_workers(options, jobs, threads or planned.kept_threads, planned.folder / "slurm")
    from .sweep_workers import local_workers  # noqa: PLC0415

    return local_workers(jobs or 1)


def _trained(
    ctx: click.Context,
    console: "Console",
    planned: "Sweep",
    workers: "AbstractContextManager[Workers]",
    *,
    threads: int | None,
    resumes: int,
    retry: bool,
) -> "list[Status]":
    """Train what is to be trained; what has become of the runs then."""
    from embevo.experiment.interruption import StopRequest  # noqa: PLC0415
    from embevo.run.disk.lock import WriterLock  # noqa: PLC0415

    from .sweep_table import SweepTable  # noqa: PLC0415
    from .sweeping import Conductor  # noqa: PLC0415

    lock = WriterLock(planned.lock)
    try:
        for run in planned.runs if retry else []:
            planned.retry(run)
        found = [planned.status(run, verified=True) for run in planned.runs]
        wanted = [
            run
            for run, status in zip(planned.runs, found, strict=True)
            if status.state not in ("complete", "failed")
        ]
        _check_room(planned, wanted)
        if threads is not None:
            planned.threads(threads, threads)
        with StopRequest() as stop, SweepTable(console) as table:
            table.show(found)
            due = 0.0

            def look() -> bool:
                nonlocal due
                begun = time.monotonic()
                if begun >= due:
                    table.show(_now(planned, found))
                    # Of many runs on a slow file system, a look takes its time: it is not all that is done.
                    due = time.monotonic() + max(_LOOK_SECONDS, 10 * (time.monotonic() - begun))
                return stop.signal is not None

            if wanted:
                with workers as there:
                    kept = planned.threads(threads, there.threads)
                    Conductor(planned, there, threads=kept, resumes=resumes).train(wanted, look)
            final = _now(planned, found)
            table.show(final)
    finally:
        lock.release()
    if stop.signal is not None:
        console.print("Stopped; what was captured is sealed. The same command goes on.", highlight=False)
        ctx.exit(_SIGNALLED + stop.signal)
    for status in final:
        if status.state in _TO_SEE_TO:
            click.echo(f"{status.state.upper()}: {status.name}: {status.reason}", err=True)
    return final


def _now(planned: "Sweep", before: "list[Status]") -> "list[Status]":
    """The states; those that were settled when the sweep began are not looked at again."""
    return [
        status if status.state in ("complete", "failed") else planned.status(run)
        for run, status in zip(planned.runs, before, strict=True)
    ]


def _check_room(planned: "Sweep", runs: "list[GridRun]") -> None:
    """Refuse what will not fit on the disk, however well it can be compressed."""
    from embevo.errors import ConfigError  # noqa: PLC0415
    from embevo.run.planning import Machine  # noqa: PLC0415

    least, _ = _disk(runs)
    free = Machine.here(planned.out).free_disk
    if least > free:
        raise ConfigError(
            f"{len(runs)} runs take at least {size_of(least)} in {planned.out}, and {size_of(free)} are left "
            "there: choose another --out, fewer runs, --every or --tokens in [fixed]."
        )


def _disk(runs: "list[GridRun]") -> tuple[int, int]:
    """The least and the most that runs will take on the disk, in bytes."""
    from embevo.experiment.planned import plans_of  # noqa: PLC0415

    plans = plans_of(run.config for run in runs)
    low = sum(plan.snapshot_bytes + plan.zarr_bytes[0] for plan in plans)
    return low, sum(plan.snapshot_bytes + plan.zarr_bytes[1] for plan in plans)


def _print(console: "Console", found: "list[Status]") -> None:
    from .sweep_table import line_of, table_of  # noqa: PLC0415

    if console.is_terminal:
        console.print(table_of(found))
        return
    for status in found:
        console.print(line_of(status), highlight=False, markup=False, soft_wrap=True)


def _print_plan(console: "Console", planned: "Sweep", found: "list[Status]", rate: float | None) -> None:
    """Say what is left to be trained; with the steps a second of all runs together, for how long."""
    from embevo.run.planning import Machine  # noqa: PLC0415

    left = [
        (run, run.config.steps - (status.step or 0))
        for run, status in zip(planned.runs, found, strict=True)
        if status.state not in ("complete", "failed")
    ]
    low, high = _disk([run for run, _ in left])
    steps = sum(more for _, more in left)
    free = size_of(Machine.here(planned.out).free_disk)
    console.print(
        f"{len(left)} of {len(found)} runs to train, {steps:,} steps: {size_of(low)} to {size_of(high)} in "
        f"{planned.out}, where {free} are left"
        + ("." if rate is None else f"; {steps / rate / 3600:,.1f} hours at {rate:g} steps a second."),
        highlight=False,
        soft_wrap=True,
    )
