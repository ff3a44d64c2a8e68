"""``embevo train``: train the experiment and record every step."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from embevo.experiment.config import ExperimentConfig, load_settings, settings_of

from .readable import program
from .settings import settings_options

if TYPE_CHECKING:
    from torch import Tensor

    from embevo.experiment.record import Beginning, RunSummary

_SIGNALLED: Final = 128
_REFRESH_SECONDS: Final = 0.25


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="TOML file with settings, or a run to take them from. Options given beside it win.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run directory.  [default: runs/INIT-DTYPE-seedSEED]"
)
@click.option("--overwrite", is_flag=True, help="Delete the run that is there.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with an interrupted run."
)
@click.option(
    "--rewind",
    is_flag=True,
    help="With --resume: drop the steps after the checkpoint instead of comparing them when they run again.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@settings_options
@click.pass_context
def train(
    ctx: click.Context,
    /,
    *,
    config_path: Path | None,
    out: Path | None,
    overwrite: bool,
    resume: Path | None,
    rewind: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a tiny GPT-2 on bytes and record its embedding matrix at every step.

    Without options it runs the experiment of the notebook. Ctrl-C stops it with everything captured sealed;
    --resume goes on.
    """
    if resume is not None and (config_path is not None or out is not None or overwrite):
        raise click.UsageError(
            "--resume takes its settings from the run: leave out --config, --out, --overwrite."
        )
    source = resume or config_path
    settings = (
        settings_of(resume) if resume is not None else load_settings(config_path) if config_path else {}
    )
    settings |= {name: value for name, value in options.items() if value is not None}
    config = ExperimentConfig.from_mapping(settings, str(source) if source is not None else "the options")
    run_dir = resume or out or Path("runs") / config.run_name()

    # OpenMP's threads spin while they wait for each other: with anything else on the cores, a step of this
    # small model then takes ten times as long. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch takes seconds to load; --help and a mistaken option should not wait for it.
    from embevo.experiment.record import run_experiment  # noqa: PLC0415

    console = Console(quiet=quiet)
    with _StepProgress(console, config.steps) as progress:
        summary = run_experiment(
            config,
            run_dir,
            overwrite=overwrite,
            resume=resume is not None,
            rewind=rewind,
            on_begin=progress.begin,
            on_step=progress.step,
        )
        progress.finish(summary)
    _print_summary(console, summary, config)
    if summary.signal is not None:
        ctx.exit(_SIGNALLED + summary.signal)


class _StepProgress(Progress):
    """Bar, step, loss, steps per second and time left; it touches the loss a few times a second only."""

    def __init__(self, console: Console, steps: int) -> None:
        super().__init__(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} it/s"),
            TimeRemainingColumn(),
            console=console,
            disable=console.quiet,
            refresh_per_second=1 / _REFRESH_SECONDS,
        )
        self._steps = steps
        self._bar: TaskID | None = None
        self._next = 0.0
        self._begun = (0, 0.0)

    def begin(self, beginning: "Beginning") -> None:
        """Say what is about to be trained, and start the bar."""
        corpus = beginning.corpus
        print_ = self.console.print
        print_(f"Device   {beginning.device}", highlight=False)
        print_(
            f"Corpus   {corpus.name}: {corpus.byte_count:,} bytes, {len(corpus.live_ids)} live and "
            f"{len(corpus.dead_ids)} dead token ids",
            highlight=False,
        )
        print_(f"Model    {beginning.parameters:,} parameters", highlight=False)
        for note in beginning.notes:
            print_(f"Note     {note}", highlight=False, markup=False)
        if beginning.step:
            print_(f"Resumed  at step {beginning.step:,}", highlight=False)
        self._begun = (beginning.step, time.monotonic())
        self._bar = self.add_task("", total=self._steps, completed=beginning.step, loss="-", rate="-")

    def finish(self, summary: "RunSummary") -> None:
        """Show the last step, also when a signal came between two refreshes."""
        if self._bar is not None:
            self.update(self._bar, completed=summary.last_step)

    def step(self, step: int, loss: "Tensor") -> None:
        """Show a step, if it is time to."""
        now = time.monotonic()
        if self._bar is None or (now < self._next and step < self._steps):
            return
        self._next = now + _REFRESH_SECONDS
        first, begun = self._begun
        rate = (step - first) / max(now - begun, 1e-9)
        self.update(self._bar, completed=step, loss=f"{loss.item():.4f}", rate=f"{rate:.1f}")


def _print_summary(console: Console, summary: "RunSummary", config: ExperimentConfig) -> None:
    run, stats = summary.run_dir, summary.stats
    facts = Table.grid(padding=(0, 2))
    facts.add_row("Run", str(run))
    how = "interrupted" if summary.signal is not None else "complete"
    facts.add_row("Steps", f"{summary.first_step:,} to {summary.last_step:,} of {config.steps:,}: {how}")
    facts.add_row(
        "Recorded", f"{stats.captured:,} matrices of {config.vocab_size} x {config.dim}, {config.dtype}"
    )
    if stats.compared:
        facts.add_row("Compared", f"{stats.compared:,} steps trained again, equal in every bit")
    if stats.dropped:
        facts.add_row("Dropped", f"{stats.dropped:,} steps, because the ring was full")
    for part, size in summary.sizes.items():
        facts.add_row("", f"{part}: {size / 1e6:,.1f} MB")
    done = summary.last_step - summary.first_step
    facts.add_row(
        "Time", f"{summary.seconds:,.1f} s, {done / max(summary.seconds, 1e-9):.1f} steps per second"
    )
    facts.add_row(
        "Capture",
        f"p50 {stats.capture_ns_p50 / 1e3:,.0f} us, p99 {stats.capture_ns_p99 / 1e3:,.0f} us, "
        f"max {stats.capture_ns_max / 1e3:,.0f} us",
    )
    facts.add_row("Waited", f"{stats.waited_ns / 1e6:,.1f} ms for room in the ring, in all")
    console.print(facts, highlight=False, markup=False)
    console.print("\nNext:", highlight=False)
    embevo, python = program("embevo"), program("python")
    commands = [f"{embevo} info {run}", f"{embevo} verify {run}"]
    if config.store == "safetensors":
        commands.append(
            f"""{python} -c "import embevo; print(embevo.open_run('{run}')['embeddings'][-1])\""""
        )
    else:
        group = f"zarr.open('{run}/trajectory.zarr', mode='r')"
        commands.append(f"""{python} -c "import zarr; print({group}['embeddings'][-1])\"""")
    if summary.signal is not None:
        commands.insert(0, f"{embevo} train --resume {run}")
    for command in commands[:3]:
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)
