"""``embevo plan``: what a recording will take, before it begins."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from embevo.run.format.effort import AskedEffort
from embevo.run.writing.effort_choice import DEFAULT_BUDGET

from .paths import PathOf
from .plan_rows import rows_of, rows_of_ranks
from .plan_sweep import plan_sweep
from .readable import size_of

if TYPE_CHECKING:
    from embevo.run.format.schedule import Schedule

_DTYPES = ("bfloat16", "float16", "float32", "float64")
# A step is recorded as a 64-bit number, and files have no more bytes.
_MOST = 2**63 - 1
_LONGEST = 8


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:  # noqa: ARG001
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no finite number.")
    return value


@click.command()
@click.option("--sweep", "grid", type=PathOf(), metavar="GRID.toml", help="Plan all runs of a sweep.")
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="With --sweep: train N runs at once.  [default: 1]"
)
@click.option("--shape", metavar="TOKENSxDIM", help="Of the matrix, such as 151936x2560.")
@click.option("--dtype", type=click.Choice(_DTYPES), default="bfloat16", show_default=True)
@click.option("--steps", type=click.IntRange(1, _MOST), help="Optimizer steps.")
@click.option("--rate", type=click.FloatRange(1e-9, 1e9), callback=_finite, help="Steps a second.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Record every N-th step.")
@click.option(
    "--store", type=click.Choice(["zarr", "safetensors", "both"]), default="both", show_default=True
)
@click.option("--zarr-dtype", type=click.Choice(["float32", "native"]), default="float32", show_default=True)
@click.option(
    "--effort",
    type=click.Choice(get_args(AskedEffort)),
    default="auto",
    show_default=True,
    help="How hard the trajectory is compressed, as for embevo train.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0, 1),
    callback=_finite,
    help="With --measure and effort auto: the share of a step that recording may take.  "
    f"[default: {DEFAULT_BUDGET}]",
)
@click.option(
    "--schedule",
    help="Which steps to record, as for embevo train: log:20, dense:100,50, 0,1,10,100, or joined by +.",
)
@click.option(
    "--record",
    default="weights",
    show_default=True,
    help="What to record, as for embevo train: weights, and with commas grad, exp_avg, exp_avg_sq, "
    "hidden_mean, hidden_var, logits.",
)
@click.option("--rows", type=click.IntRange(1), help="Record so many tokens of it only.")
@click.option("--ranks", type=click.IntRange(1), help="Processes among which its rows are divided.")
@click.option("--ranks-per-host", type=click.IntRange(1), help="Of these.  [default: at most 8]")
@click.option("--gradient", is_flag=True, help="Record the gradient too: grad in --record.")
@click.option("--optimizer", is_flag=True, help="Record both moments of Adam too, likewise.")
@click.option(
    "--optimizer-dtype", type=click.Choice(_DTYPES), help="Of the moments.  [default: as the matrix]"
)
@click.option(
    "--out",
    type=PathOf(),
    default=Path("runs"),
    show_default=True,
    help="Where the run would lie.",
)
@click.option(
    "--measure", is_flag=True, help="Time this machine's memory, cores and disk for a second or two."
)
@click.option("--mirror", is_flag=True, help="Say what sending it to object storage takes, too.")
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    *,
    grid: Path | None,
    workers: int | None,
    shape: str | None,
    dtype: str,
    steps: int | None,
    rate: float | None,
    every: int,
    store: Any,
    zarr_dtype: Any,
    effort: Any,
    budget: float | None,
    schedule: str | None,
    record: str,
    rows: int | None,
    ranks: int | None,
    ranks_per_host: int | None,
    gradient: bool,
    optimizer: bool,
    optimizer_dtype: str | None,
    out: Path,
    measure: bool,
    mirror: bool,
) -> None:
    """Work out what recording a matrix at every step takes, or a sweep, and whether it fits.

    Exits with 1 where it does not.
    """
    if grid is not None or workers is not None:
        plan_sweep(ctx, grid, out, rate=rate, workers=workers or 1, measure=measure)
        return
    shape, steps, rate = _needed(shape, steps, rate)
    from embevo.errors import ConfigError  # noqa: PLC0415 - loaded when they are needed, zarr above all
    from embevo.experiment.arrays import parse_record, recorded_frame  # noqa: PLC0415
    from embevo.run.fits import warnings_of, where_all_cores_are_busy  # noqa: PLC0415
    from embevo.run.format.token_subset import TokenSubset  # noqa: PLC0415
    from embevo.run.mirroring.planning import MirrorPlan  # noqa: PLC0415
    from embevo.run.planning import Machine, Plan, of_ranks  # noqa: PLC0415

    size = _shape(shape)
    if rows is not None and rows > size[0]:
        raise click.BadParameter(f"{rows} is more than the {size[0]} that there are.", param_hint="--rows")
    try:
        names = set(parse_record(record))
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--record") from error
    names |= ({"grad"} if gradient else set()) | ({"exp_avg", "exp_avg_sq"} if optimizer else set())
    if optimizer_dtype and not names & {"exp_avg", "exp_avg_sq"}:
        raise click.UsageError("--optimizer-dtype is of the optimizer's moments, which are not recorded.")
    if ranks is not None:
        size = _piece(size, ranks, rows, names)
    on_host = _on_host(ranks, ranks_per_host)
    chosen, every = _steps(schedule, every, steps)
    _check_effort(effort, budget, store, measure=measure)
    planned = Plan.of(
        recorded_frame(
            parse_record(",".join(names)),
            size,
            dtype,
            moments=optimizer_dtype,
            tokens=None if rows is None else TokenSubset.of(range(rows), size[0]),
        ),
        steps=steps,
        steps_per_second=rate,
        every=every,
        schedule=chosen,
        store=store,
        zarr_dtype=zarr_dtype,
        effort=effort,
    )
    machine = Machine.measured(out, planned, zarr_dtype) if measure else Machine.here(out)
    host = of_ranks(planned, on_host)
    shown = rows_of(planned, machine, host, budget)
    if ranks is not None:
        shown += rows_of_ranks(of_ranks(planned, ranks), host, ranks, on_host)
    for label, text in shown:
        click.echo(f"{label:16}{text}")
    if mirror:
        sending = MirrorPlan.of(planned, zarr_dtype, ranks=ranks or 1)
        click.echo(
            f"{'mirror':16}{size_of(sending.sent_bytes)} at most, {size_of(sending.rate)} a second; "
            f"{sending.requests:,} requests, {sending.block_requests:,} a block"
        )
    found = warnings_of(host, machine)
    whole = of_ranks(planned, ranks or 1).disk_bytes
    if not found and whole > machine.free_disk:
        found = [f"All ranks take {size_of(whole)}; the disk has {size_of(machine.free_disk)} left."]
    for warning in found:
        click.echo(f"Does not fit: {warning}", err=True)
    if found:
        raise SystemExit(1)
    unless = where_all_cores_are_busy(of_ranks(planned, ranks or 1), machine)
    click.echo(f"It fits, where it is compressed. {unless}" if unless else "It fits.")


def _needed(shape: str | None, steps: int | None, rate: float | None) -> tuple[str, int, float]:
    """What a recording cannot be planned without."""
    if shape is None or steps is None or rate is None:
        given = {"--shape": shape, "--steps": steps, "--rate": rate}
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise click.UsageError(f"Missing {missing}, of a recording; a sweep is planned with --sweep.")
    return shape, steps, rate


def _shape(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is not TOKENSxDIM, such as 128x64.", param_hint="--shape")
    tokens, dim = map(int, parts)
    if tokens * dim > _MOST // _LONGEST:
        raise click.BadParameter(f"{text!r} is more than a file can hold.", param_hint="--shape")
    return tokens, dim


def _piece(size: tuple[int, int], ranks: int, rows: int | None, names: set[str]) -> tuple[int, int]:
    """The shape of the largest piece of a matrix whose rows are divided among processes."""
    if rows is not None:
        raise click.UsageError("--ranks divides all rows, and chosen --rows are recorded by one process.")
    if others := sorted(names - {"weights", "grad", "exp_avg", "exp_avg_sq"}):
        raise click.BadParameter(
            f"{', '.join(others)} is not divided as the matrix is: with --ranks, record weights, grad, "
            "exp_avg, exp_avg_sq.",
            param_hint="--record",
        )
    return -(-size[0] // ranks), size[1]


def _on_host(ranks: int | None, wanted: int | None) -> int:
    """How many processes share a host."""
    if wanted is not None and wanted > (ranks or 1):
        raise click.UsageError(f"--ranks-per-host is {wanted}, and --ranks is {ranks or 'not given'}.")
    return min(ranks or 1, wanted or 8)


def _check_effort(effort: str, budget: float | None, store: str, *, measure: bool) -> None:
    """Refuse what nothing would follow from."""
    if store == "safetensors" and (effort != "auto" or budget is not None):
        raise click.UsageError("--effort and --budget are of the trajectory, and --store is safetensors.")
    if budget is not None and effort != "auto":
        raise click.UsageError(f"--budget is what --effort auto goes by, and --effort is {effort}.")
    if budget is not None and not measure:
        raise click.UsageError("--budget says what comes out with what this machine takes: add --measure.")


def _steps(text: str | None, every: int, steps: int) -> tuple["Schedule | None", int]:
    """The steps of a schedule, the first and the last, and how far those that are closest lie apart.

    None for the schedule where none is given.
    """
    from embevo.errors import ArgumentError  # noqa: PLC0415
    from embevo.run.format.schedule import at  # noqa: PLC0415
    from embevo.run.format.schedule_text import parse_schedule  # noqa: PLC0415

    if text is None:
        return None, every
    if every != 1:
        raise click.UsageError("--every and --schedule both say which steps: give one of them.")
    try:
        asked = parse_schedule(text)
        return asked | at([0, steps]), asked.spacing
    except ArgumentError as error:
        raise click.BadParameter(str(error), param_hint="--schedule") from error
