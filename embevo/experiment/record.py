"""The experiment, recorded: corpus, training loop, recorder and checkpoints put together."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from embevo.errors import ResumeError
from embevo.experiment.arrays import ARRAYS, WEIGHTS
from embevo.experiment.checkpoint import KEPT, save_checkpoint
from embevo.experiment.chosen_tokens import chosen_tokens
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus, load_corpus
from embevo.experiment.device import check_compiles, find_device
from embevo.experiment.environment import deciding_environment, library_versions
from embevo.experiment.interruption import StopRequest
from embevo.experiment.loop import TrainingLoop
from embevo.experiment.model import resolve_matmul
from embevo.experiment.planned import plan_of
from embevo.experiment.resume import check_same, starting_point
from embevo.experiment.sources import LoopSources, sources_of_loop
from embevo.recording.optimizer_settings import optimizer_settings
from embevo.recording.recorder import Recorder
from embevo.recording.stats import RecorderStats
from embevo.run.fits import warnings_of
from embevo.run.format.provenance import BYTES, VOCABULARY
from embevo.run.format.schedule import Schedule
from embevo.run.format.settings import EXPERIMENT, OPTIMIZER
from embevo.run.format.token_subset import TokenSubset
from embevo.run.paths import PathLike, RunPaths, absolute
from embevo.run.planning import Machine
from embevo.run.reading.reader import open_run
from embevo.run.repair.rewinding import rewind_to

_COMPILED: Final = "The model is compiled at its first step, which takes half a minute or so."
_IN_FLOAT32: Final = (
    "This CPU has no bfloat16 instructions: products are accumulated in float32 and rounded, which is "
    "several times as fast here (matmul = native for PyTorch's own)."
)


@dataclass(frozen=True)
class Beginning:
    """What is known when training begins.

    Attributes:
        device: description of the device that was found.
        corpus: what is trained on.
        parameters: how many numbers the model has.
        step: where training begins: 0, or the step of the checkpoint.
        notes: what the user should know of the arithmetic, of damaged checkpoints and of dropped steps.
    """

    device: str
    corpus: Corpus
    parameters: int
    step: int
    notes: list[str]


@dataclass(frozen=True)
class RunSummary:
    """What a finished or interrupted call of :func:`run_experiment` has done.

    Attributes:
        run_dir: where the run lies.
        first_step: step that this call began at.
        last_step: step that it ended at.
        seconds: wall time of training and sealing.
        sizes: bytes on disk by part of the run, such as ``trajectory.zarr``.
        stats: what the recorder has done.
        signal: number of the signal that ended it, or None.
    """

    run_dir: Path
    first_step: int
    last_step: int
    seconds: float
    sizes: dict[str, int]
    stats: RecorderStats
    signal: int | None


def run_experiment(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    rewind: bool = False,
    journal_dir: PathLike | None = None,
    mirror: str | None = None,
    on_begin: Callable[[Beginning], None] | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> RunSummary:
    """Train and record. SIGINT and SIGTERM end it after the current step, with everything captured sealed.

    Nothing is written before the configuration, the corpus and the device have been found good.

    Args:
        config: the experiment.
        run_dir: where to record it.
        overwrite: delete the run that is there.
        resume: go on with the run that is there, from its newest checkpoint, or from step 0 if it has none.
            Steps that are trained again are compared bit for bit with what was recorded.
        rewind: with ``resume``, drop the steps after the checkpoint instead of comparing them.
        journal_dir: a directory on a local disk for the ring, as of :class:`Recorder`.
        mirror: URL in object storage to which sealed blocks are sent, as of :class:`Recorder`.
        on_begin: called once before training.
        on_step: called after every step with the step and its loss, a 0-d tensor on the device; reading it
            waits for the device.

    Raises:
        CorpusError, DeviceError: before anything is written.
        RunExistsError: the directory holds something, and neither ``overwrite`` nor ``resume`` is given.
        ResumeError: configuration, corpus or libraries are not those of the run.
        DivergedError: a step trained again is not what was recorded.
        RecordingError, CheckpointError: writing failed; what was captured is safe.
    """
    run_dir = absolute(run_dir)
    corpus = load_corpus(
        config.corpus, config.vocab_size, config.context, drop_out_of_vocab=config.drop_out_of_vocab
    )
    tokens = chosen_tokens(config.tokens, corpus.token_count)
    found = find_device(config.device)
    # The run says how its numbers were computed, so that resuming on another CPU computes them so too.
    matmul = resolve_matmul(config)
    notes = [_IN_FLOAT32] if config.matmul == "auto" and matmul == "float32" else []
    config = dataclasses.replace(config, matmul=matmul)
    environment = deciding_environment(found)
    if resume:
        check_same(open_run(run_dir), config, corpus, environment)
    elif rewind:
        raise ResumeError("Only a run that is resumed can be rewound.")
    else:
        notes += [f"May not fit: {warning}" for warning in _preflight(config, tokens, run_dir)]
    if config.compile:
        check_compiles(found.device)
        notes.append(_COMPILED)
    loop = TrainingLoop(config, corpus, found.device)
    if resume:
        notes += _take_up(loop, run_dir, config.steps_to_record(), rewind=rewind, journal_dir=journal_dir)
    attributes = {
        "config": config.to_kept(),
        EXPERIMENT: config.to_experiment(),
        "corpus": corpus.to_mapping(),
        "versions": library_versions(),
        "environment": environment,
        VOCABULARY: BYTES,
        OPTIMIZER: optimizer_settings(
            [loop.optimizer], {ARRAYS[WEIGHTS]: loop.embedding}, loop.embedding, first_step=0
        ),
    }
    with (
        StopRequest() as stop,
        closing(sources_of_loop(loop, config)) as sources,
        Recorder(
            run_dir,
            sources.taken,
            dimensions=sources.dimensions,
            tokens=None if tokens is None else tokens.ids,
            steps=config.steps_to_record() if config.has_schedule else None,
            store=config.store,
            when_full=config.when_full,
            zarr_dtype=config.zarr_dtype,
            attributes=attributes,
            token_count=corpus.token_count,
            overwrite=overwrite,
            resume=resume,
            effort=config.effort,
            budget=config.budget,
            durability=config.durability,
            sync_seconds=config.sync_seconds,
            sync_steps=config.sync_steps or None,
            journal_dir=journal_dir,
            mirror=mirror,
        ) as recorder,
    ):
        if recorder.recovery is not None:
            notes += [f"Lost: {what}" for what in recorder.recovery.lost]
            notes += [f"Unproven: {what}" for what in recorder.recovery.unproven]
        if on_begin is not None:
            parameters = sum(parameter.numel() for parameter in loop.model.parameters())
            on_begin(Beginning(found.description, corpus, parameters, loop.global_step, notes))
        started = time.perf_counter()
        first_step = loop.global_step
        _train(loop, config, recorder, sources, stop=stop, on_step=on_step)
    return RunSummary(
        run_dir=run_dir,
        first_step=first_step,
        last_step=loop.global_step,
        seconds=time.perf_counter() - started,
        sizes=_sizes(recorder.paths),
        stats=recorder.stats,
        signal=stop.signal,
    )


def _preflight(config: ExperimentConfig, tokens: TokenSubset | None, run_dir: Path) -> list[str]:
    """What the run may not find room for; nothing is measured, and nothing is refused."""
    return warnings_of(plan_of(config, tokens), Machine.here(run_dir))


def _take_up(
    loop: TrainingLoop,
    run_dir: Path,
    recorded: Schedule,
    *,
    rewind: bool,
    journal_dir: PathLike | None,
) -> list[str]:
    """Put the loop where the run's newest checkpoint says; what the user should know of it."""
    point = starting_point(run_dir, recorded)
    notes = [f"{damage}. An older checkpoint is used." for damage in point.damaged]
    if point.state is not None:
        loop.restore(point.state)
    if rewind:
        dropped = rewind_to(run_dir, loop.global_step if point.state is not None else -1, journal_dir)
        notes.append(f"Dropped {dropped:,} steps that were recorded after the checkpoint.")
    return notes


def _train(
    loop: TrainingLoop,
    config: ExperimentConfig,
    recorder: Recorder,
    sources: LoopSources,
    *,
    stop: StopRequest,
    on_step: Callable[[int, Tensor], None] | None,
) -> None:
    """Train to the end or until asked to stop, capturing and saving checkpoints on the way."""
    kept = config.steps_of_checkpoints()
    enabled = bool(config.checkpoint_every or config.checkpoint_seconds) or kept.after(-1) <= config.steps
    saved = time.monotonic()
    begun = loop.global_step
    if begun == 0:
        recorder.capture(0)
        if kept.has(0):
            _save(loop, recorder, config)
    recorded = config.steps_to_record()
    due = recorded.after(begun)
    while loop.global_step < config.steps and stop.signal is None:
        is_due = loop.global_step + 1 == due
        sources.expect(recorded=is_due)
        loss, learning_rate = loop.advance(recorder.before_step if is_due else None)
        step = loop.global_step
        if is_due:
            due = recorded.after(step)
            recorder.capture(step, loss=loss, lr=learning_rate)
        if on_step is not None:
            on_step(step, loss)
        by_steps = config.checkpoint_every and step % config.checkpoint_every == 0
        by_time = config.checkpoint_seconds and time.monotonic() - saved >= config.checkpoint_seconds
        if (by_steps or by_time or kept.has(step)) and step < config.steps:
            _save(loop, recorder, config)
            saved = time.monotonic()
    if enabled and loop.global_step > begun:
        # One checkpoint is left of a finished run: the trained model.
        _save(loop, recorder, config, last=loop.global_step == config.steps)


def _save(loop: TrainingLoop, recorder: Recorder, config: ExperimentConfig, *, last: bool = False) -> None:
    if config.durability == "power":
        # A checkpoint survives a power cut. So must the steps before it, or resuming would leave a gap.
        recorder.flush()
    save_checkpoint(
        recorder.paths.checkpoints,
        loop.state(),
        keep=1 if last else KEPT,
        for_good=config.steps_of_checkpoints().has(loop.global_step),
    )


def _sizes(paths: RunPaths) -> dict[str, int]:
    parts = (paths.trajectory, paths.snapshots, paths.checkpoints)
    return {
        part.name: sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        for part in parts
        if part.is_dir()
    }
