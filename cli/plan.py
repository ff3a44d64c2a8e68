"""``embevo plan``: what a recording will take, before it begins."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .paths import PathOf
from .readable import size_of

if TYPE_CHECKING:
    from embevo.run.planning import Machine, Plan

_DTYPES = ("bfloat16", "float16", "float32", "float64")


@click.command()
@click.option("--shape", required=True, metavar="TOKENSxDIM", help="Of the matrix, such as 151936x2560.")
@click.option("--dtype", type=click.Choice(_DTYPES), default="bfloat16", show_default=True)
@click.option("--steps", required=True, type=click.IntRange(1), help="Optimizer steps.")
@click.option("--rate", required=True, type=click.FloatRange(0, min_open=True), help="Steps a second.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Record every N-th step.")
@click.option(
    "--store", type=click.Choice(["zarr", "safetensors", "both"]), default="both", show_default=True
)
@click.option("--zarr-dtype", type=click.Choice(["float32", "native"]), default="float32", show_default=True)
@click.option("--gradient", is_flag=True, help="Record the gradient too, in the same dtype.")
@click.option("--optimizer", is_flag=True, help="Record both moments of Adam too.")
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
def plan(
    *,
    shape: str,
    dtype: str,
    steps: int,
    rate: float,
    every: int,
    store: Any,
    zarr_dtype: Any,
    gradient: bool,
    optimizer: bool,
    optimizer_dtype: str | None,
    out: Path,
    measure: bool,
) -> None:
    """Work out what recording a matrix at every step takes, and whether it fits.

    Exits with 1 where it does not.
    """
    from embevo.run.format.frame import FrameSpec  # noqa: PLC0415 - zarr is loaded when it is needed
    from embevo.run.planning import Machine, Plan, warnings_of  # noqa: PLC0415

    size = _shape(shape)
    if not math.isfinite(rate):
        raise click.BadParameter(f"{rate} is not a number of steps a second.", param_hint="--rate")
    matrices = {"embeddings": (dtype, size)}
    if gradient:
        matrices["gradient"] = (dtype, size)
    if optimizer:
        matrices |= dict.fromkeys(("exp_avg", "exp_avg_sq"), (optimizer_dtype or dtype, size))
    elif optimizer_dtype:
        raise click.UsageError("--optimizer-dtype is of --optimizer, which is not given.")
    planned = Plan.of(
        FrameSpec.of(matrices, ("loss", "learning_rate")),
        steps=steps,
        steps_per_second=rate,
        every=every,
        store=store,
        zarr_dtype=zarr_dtype,
    )
    machine = Machine.measured(out, planned, zarr_dtype) if measure else Machine.here(out)
    for label, text in _rows(planned, machine):
        click.echo(f"{label:16}{text}")
    found = warnings_of(planned, machine)
    for warning in found:
        click.echo(f"Does not fit: {warning}", err=True)
    if found:
        raise SystemExit(1)
    click.echo("It fits.")


def _shape(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is not TOKENSxDIM, such as 128x64.", param_hint="--shape")
    return int(parts[0]), int(parts[1])


def _rows(planned: "Plan", machine: "Machine") -> list[tuple[str, str]]:
    tokens, dim = planned.frame.shape
    names = ", ".join(f"{name} {dtype}" for name, dtype in planned.frame.matrices)
    rows = [
        ("records", f"{names}: {tokens:,} x {dim:,}, {planned.rows:,} times"),
        ("a step", size_of(planned.step_bytes)),
        ("raw", size_of(planned.raw_bytes)),
    ]
    if planned.snapshot_bytes:
        rows.append(("safetensors", size_of(planned.snapshot_bytes)))
    if planned.zarr_bytes[1]:
        low, high = planned.zarr_bytes
        rows.append(("Zarr", f"{size_of(low)} to {size_of(high)} expected, by how much changes each step"))
    seconds = planned.block_steps * planned.every / planned.steps_per_second
    rows += [
        (
            "ring",
            f"{size_of(planned.ring_bytes)} on the disk and in memory, {2 * planned.block_steps:,} steps",
        ),
        ("block", f"{planned.block_steps:,} steps, sealed every {seconds:,.1f} s"),
        ("memory", f"{size_of(planned.memory_bytes)} at most"),
        ("handed over", f"{size_of(planned.capture_rate)} a second"),
        ("to the disk", f"{size_of(planned.disk_rate)} a second at most"),
        ("files", f"{planned.files:,} at most"),
        ("disk left", f"{size_of(machine.free_disk)}{_files_left(machine)}"),
        ("memory left", f"{size_of(machine.memory)}, by {machine.memory_source}"),
        ("not known", "quotas of users and groups; quota -s says them where there are any"),
    ]
    if machine.cores is not None:
        rows.insert(-1, ("cores", f"{machine.cores.amount:g}, by {machine.cores.source}"))
    if machine.copy_rate is not None:
        blocked = planned.step_bytes / machine.copy_rate
        rows.append(
            ("a capture", f"{1000 * blocked:,.3f} ms of memory copy ({size_of(machine.copy_rate)} a second)")
        )
    if machine.encode_rate is not None:
        rows.append(("compresses", f"{size_of(machine.encode_rate)} a second, where everything changes"))
    if machine.write_rate is not None:
        rows.append(("writes", f"{size_of(machine.write_rate)} a second, synced"))
    return rows


def _files_left(machine: "Machine") -> str:
    disk = machine.disk
    if disk is None:
        return ""
    kind = ", in memory" if disk.in_memory else ""
    return kind + (
        ", files without a limit" if disk.free_files is None else f" and {disk.free_files:,} files"
    )
