"""``embevo train``: train the experiment and record every step."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from embevo.experiment.config import ExperimentConfig, load_settings, overridden, settings_of
from embevo.experiment.session import Leash

from .output import go_on_without_output, say_if_output_failed
from .paths import PathOf
from .settings import settings_options
from .training_compaction import make_small
from .training_progress import announce, progress_on
from .training_summary import print_summary

if TYPE_CHECKING:
    from torch import Tensor

    from embevo.experiment.record import Beginning

_SIGNALLED: Final = 128


@click.command()
@click.option(
    "--config",
    "config_path",
    type=PathOf(),
    help="TOML file with settings, or a run to take them from. Options given beside it win.",
)
@click.option("--out", type=PathOf(), help="Run directory.  [default: runs/INIT-DTYPE-seedSEED]")
@click.option("--overwrite", is_flag=True, help="Delete the run that is there.")
@click.option("--resume", type=PathOf(), metavar="RUN", help="Go on with an interrupted run.")
@click.option(
    "--rewind",
    is_flag=True,
    help="With --resume: drop the steps after the checkpoint instead of comparing them when they run again.",
)
@click.option(
    "--compact", is_flag=True, help="When the training is complete, make the run as small as it gets."
)
@click.option(
    "--journal-dir",
    type=PathOf(),
    metavar="DIRECTORY",
    help="Keep the ring on a local disk, where the run is on a network file system.  "
    "[default: EMBEVO_JOURNAL_DIR, or the run]",
)
@click.option(
    "--mirror",
    metavar="URL",
    help="Send sealed blocks to object storage while it trains, such as s3://bucket/prefix.",
)
@click.option("--while", "session", type=PathOf(), hidden=True, help="End when this file is gone.")
@click.option("--while-process", "process", type=int, hidden=True, help="End when this process is gone.")
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
    compact: bool,
    journal_dir: Path | None,
    mirror: str | None,
    session: Path | None,
    process: int | None,
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
    settings = overridden(settings, {name: value for name, value in options.items() if value is not None})
    config = ExperimentConfig.from_mapping(settings, str(source) if source is not None else "the options")
    if compact and config.store == "safetensors":
        raise click.UsageError("--compact: safetensors files are not compressed; leave it out.")
    run_dir = resume or out or Path("runs") / config.run_name()

    leash = None if session is None else Leash(session, process)
    if leash is not None and leash.is_gone:
        ctx.exit(_SIGNALLED + signal.SIGTERM)

    # OpenMP's threads spin while they wait for each other: with anything else on the cores, a step of this
    # small model then takes ten times as long. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch takes seconds to load; --help and a mistaken option should not wait for it.
    from embevo.experiment.record import run_experiment  # noqa: PLC0415

    # A reader that has gone, or a log on a full disk, is no reason to stop recording.
    go_on_without_output()
    console = Console(quiet=quiet)
    with progress_on(console, config.steps) as progress:

        def begin(beginning: "Beginning") -> None:
            announce(console, beginning)
            progress.begin(beginning.step)

        def step(done: int, loss: "Tensor") -> None:
            progress.step(done, loss)
            if leash is not None:
                leash.look()

        summary = run_experiment(
            config,
            run_dir,
            overwrite=overwrite,
            resume=resume is not None,
            rewind=rewind,
            journal_dir=journal_dir,
            mirror=mirror,
            on_begin=begin,
            on_step=step,
        )
        progress.finish()
    print_summary(console, summary, config)
    if summary.signal is None and config.store != "safetensors":
        make_small(console, run_dir, at_once=compact, mirror=mirror)
    say_if_output_failed(f"What was recorded is in {run_dir}.")
    if summary.signal is not None:
        ctx.exit(_SIGNALLED + summary.signal)
