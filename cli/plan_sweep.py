"""``embevo plan --sweep``: what the runs of a grid take together."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .readable import size_of

if TYPE_CHECKING:
    from embevo.experiment.grid import GridRun
    from embevo.experiment.sweep_plan import SweepPlan
    from embevo.run.planning import Machine

# Options of embevo plan that are none of the recording's.
_ALLOWED: Final = ("grid", "rate", "workers", "out", "measure")
_ADVICE: Final = {
    "disk space": "the runs take more of the disk than is left. Record every n-th step, store only zarr, or "
    "choose another --out.",
    "memory": "so many at once take more memory than there is. Choose fewer --workers.",
    "files": "the runs take more files than the file system has left (df -i). Record every n-th step, store "
    "only zarr, or choose another --out.",
}


def plan_sweep(
    ctx: click.Context, grid: Path | None, out: Path, *, rate: float | None, workers: int, measure: bool
) -> None:
    """Say what a sweep takes; exits with 1 where it does not fit.

    Args:
        ctx: of the command, whose other options are refused.
        grid: the TOML file; refused if there is none.
        out: where the runs would lie.
        rate: steps a second of each run; None where they are measured.
        workers: runs that train at once.
        measure: train some steps of each kind of run.
    """
    if grid is None:
        raise click.UsageError("--workers is for --sweep, which is not given.")
    source = click.core.ParameterSource.COMMANDLINE
    if given := [name for name in ctx.params if ctx.get_parameter_source(name) == source]:
        others = [f"--{name.replace('_', '-')}" for name in given if name not in _ALLOWED]
        if others:
            raise click.UsageError(
                f"--sweep takes the settings of runs from {grid}: leave {', '.join(others)} out."
            )
    if (rate is None) != measure:
        raise click.UsageError(
            "--sweep needs one of --rate, the steps a second of each run, and --measure, which trains some "
            "of each kind of run."
        )
    from embevo.experiment.grid import load_grid  # noqa: PLC0415 - loaded when it is needed
    from embevo.experiment.sweep_plan import SweepPlan  # noqa: PLC0415
    from embevo.run.planning import Machine  # noqa: PLC0415

    runs, machine = load_grid(grid), Machine.here(out)
    cores = machine.cores.amount if machine.cores is not None else 1
    threads = max(1, int(cores) // workers)
    times = _measured(runs, threads) if rate is None else [1 / rate] * len(runs)
    planned = SweepPlan.of(runs, times, workers=workers, threads=threads)
    for label, text in _rows(times, planned, machine, workers):
        click.echo(f"{label:16}{text}")
    loads = planned.loads(machine)
    too_much = [name for name in ("disk space", "memory", "files") if loads.get(name, 0) > 1]
    for name in too_much:
        click.echo(f"Does not fit: {_ADVICE[name]}", err=True)
    if too_much:
        raise SystemExit(1)
    click.echo("It fits.")


def _measured(runs: "list[GridRun]", threads: int) -> list[float]:
    """Seconds a step of each run, timed once for all that are of a kind."""
    from embevo.experiment.step_time import kind_of, seconds_a_step  # noqa: PLC0415 - torch

    kinds = {kind_of(run.config): run.config for run in runs}
    timed = {kind: seconds_a_step(config, threads) for kind, config in kinds.items()}
    return [timed[kind_of(run.config)] for run in runs]


def _rows(
    times: list[float],
    planned: "SweepPlan",
    machine: "Machine",
    workers: int,
) -> list[tuple[str, str]]:
    low, high = planned.disk_bytes
    each = sorted({f"{1 / seconds:,.4g}" for seconds in times}, key=lambda text: float(text.replace(",", "")))
    rate = f"{each[0]} to {each[-1]}" if len(each) > 1 else each[0]
    files = machine.disk.free_files if machine.disk is not None else None
    left = "" if files is None else f" and {files:,} files"
    loads = sorted(planned.loads(machine).items(), key=lambda load: -load[1])
    least = f"{_hours(planned.longest_seconds)} with {len(times):,} workers"
    return [
        ("runs", f"{len(times):,}, {planned.steps:,} steps together, {rate} a second in each"),
        ("workers", f"{workers:,}, {planned.threads:,} threads each"),
        ("takes", f"{_hours(planned.seconds)}; {least}, as long as the longest run"),
        ("disk", f"{size_of(low)} to {size_of(high)} expected, {size_of(planned.peak_bytes)} with the rings"),
        ("files", f"{planned.files:,} at most"),
        ("memory", f"{size_of(planned.memory_bytes)} at most, of the processes that train at once"),
        ("disk left", f"{size_of(machine.free_disk)}{left}"),
        ("memory left", f"{size_of(machine.memory)}, by {machine.memory_source}"),
        ("limit", f"{loads[0][0]}; taken of each: " + ", ".join(f"{name} {x:.2%}" for name, x in loads)),
    ]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:,.1f} minutes"
