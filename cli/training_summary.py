"""What ``embevo train`` says when it has ended."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from embevo.experiment.arrays import ARRAYS, WEIGHTS, parse_record
from embevo.experiment.chosen_tokens import ALL_TOKENS
from embevo.experiment.config import ExperimentConfig

from .readable import command_line, program
from .training_outcome import outcome_lines

if TYPE_CHECKING:
    from embevo.experiment.record import RunSummary


def print_summary(console: Console, summary: "RunSummary", config: ExperimentConfig) -> None:
    """Print what was recorded, how long it took, what became of the embedding, and commands to go on with.

    Raises:
        DamagedError: stored bytes are not what was captured; what was recorded has been printed by then.
    """
    from embevo.experiment.outcome import outcome_of  # noqa: PLC0415 - as all that train needs, not before
    from embevo.run.reading.reader import open_run  # noqa: PLC0415

    for label, text in _recorded(summary, config):
        console.print(f"{label:<10}{text}", highlight=False, markup=False, soft_wrap=True)
    outcome = None if console.quiet else outcome_of(open_run(summary.run_dir))
    for line in () if outcome is None else ("", *outcome_lines(outcome, config.dtype)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print("\nNext:", highlight=False)
    for command in _next(summary.run_dir, config, interrupted=summary.signal is not None):
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)


def _recorded(summary: "RunSummary", config: ExperimentConfig) -> list[tuple[str, str]]:
    """Lines of a label and a text."""
    stats = summary.stats
    how = "interrupted" if summary.signal is not None else "complete"
    matrices = f"{stats.captured:,} matrices of {config.vocab_size} x {config.dim}, {config.dtype}"
    if config.record != WEIGHTS:
        arrays = ", ".join(ARRAYS[name] for name in parse_record(config.record))
        matrices = f"{stats.captured:,} steps of {arrays}; the matrix is {matrices.partition(' of ')[2]}"
    if config.tokens != ALL_TOKENS:
        matrices += f", of it the tokens {config.tokens}"
    lines = [
        ("Run", str(summary.run_dir)),
        ("Steps", f"{summary.first_step:,} to {summary.last_step:,} of {config.steps:,}: {how}"),
        ("Recorded", matrices),
    ]
    if stats.compared:
        lines.append(("Compared", f"{stats.compared:,} steps trained again, equal in every bit"))
    if stats.dropped:
        lines.append(("Dropped", f"{stats.dropped:,} steps, because the ring was full"))
    lines += [("", f"{part}: {size / 1e6:,.1f} MB") for part, size in summary.sizes.items()]
    rate = (summary.last_step - summary.first_step) / max(summary.seconds, 1e-9)
    p50, p99, longest = (
        ns / 1e3 for ns in (stats.capture_ns_p50, stats.capture_ns_p99, stats.capture_ns_max)
    )
    lines += [
        ("Time", f"{summary.seconds:,.1f} s, {rate:.1f} steps per second"),
        ("Capture", f"p50 {p50:,.0f} us, p99 {p99:,.0f} us, max {longest:,.0f} us"),
        ("Waited", f"{stats.waited_ns / 1e6:,.1f} ms for room in the ring, in all"),
        ("Deferred", f"{stats.deferred:,} steps, written at the end in {stats.deferred_ns / 1e6:,.0f} ms"),
    ]
    return lines


def _next(run: Path, config: ExperimentConfig, *, interrupted: bool) -> list[str]:
    """Three commands that a shell takes as they stand."""
    embevo, python = program("embevo"), program("python")
    if config.store == "safetensors":
        look = f'import embevo; print(embevo.open_run({_text(run)})["embeddings"][-1])'
    else:
        group = _text(run / "trajectory.zarr")
        look = f'import zarr; print(zarr.open({group}, mode="r")["embeddings"][-1])'
    commands = [
        command_line(embevo, "info", run),
        command_line(embevo, "verify", run),
        command_line(python, "-c", look),
    ]
    if interrupted:
        commands.insert(0, command_line(embevo, "train", "--resume", run))
    return commands[:3]


def _text(path: Path) -> str:
    """A path as Python writes a text, in double quotes."""
    return json.dumps(str(path), ensure_ascii=False)
