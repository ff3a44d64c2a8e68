"""Checkpoints: the whole state of a training loop on disk, as safetensors and JSON.

``RUN/checkpoints/step_0000123/`` holds ``state.safetensors`` and ``checkpoint.json``, and a file ``kept`` if
later checkpoints do not replace it. A checkpoint is written
under another name, fsynced, and renamed into place whole; checksums tell a damaged one from a good one.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors.torch import load, save

from embevo.errors import CheckpointError, DamagedError
from embevo.experiment.loop import LoopState
from embevo.run.checkpoint_files import (
    INDEX,
    MARK,
    STATE,
    checkpoint_steps,
    is_kept,
    pack_index,
    read_checkpoint,
)
from embevo.run.disk.atomic import PARTIAL, sync_file, write_file
from embevo.run.format.schedule import Schedule

FORMAT: Final = 1
KEPT: Final = 2


@dataclass(frozen=True, eq=False)
class FoundCheckpoint:
    """The newest checkpoint that is whole.

    Attributes:
        state: what it holds; None when there is none.
        damaged: for each newer one that is not whole, what is wrong with it.
    """

    state: LoopState | None
    damaged: list[str]


def save_checkpoint(directory: Path, state: LoopState, keep: int = KEPT, *, for_good: bool = False) -> Path:
    """Write a checkpoint, durable and whole or not at all, then delete all but the newest and those kept.

    Args:
        directory: the run's checkpoints; made if need be.
        state: what to keep.
        keep: how many checkpoints to leave, this one included, beside those that are kept for good.
        for_good: keep this one when later ones are saved.

    Returns:
        The directory of the checkpoint.

    Raises:
        CheckpointError: it cannot be written; the checkpoints that were there still are.
    """
    place = directory / f"step_{state.step:07d}"
    partial = place.with_name(place.name + PARTIAL)
    image = save(state.tensors)
    index = {"format": FORMAT, "step": state.step, "numbers": state.numbers}
    try:
        _sweep(directory)
        # Not where somebody has removed the run: what is made there would keep a new one from its place.
        directory.mkdir(exist_ok=True)
        partial.mkdir()
        write_file(partial / STATE, image, sync=True)
        write_file(partial / INDEX, pack_index(index, image), sync=True)
        if for_good or is_kept(directory, state.step):
            write_file(partial / MARK, b"", sync=True)
        if place.exists():
            # Of an earlier attempt at this step; a directory cannot be renamed over another.
            _discard(place)
        partial.rename(place)
        sync_file(directory)
        others = [
            step
            for step in checkpoint_steps(directory)
            if step != state.step and not is_kept(directory, step)
        ]
        for old in others[: max(0, len(others) - keep + 1)]:
            _discard(directory / f"step_{old:07d}")
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        now = "Everything captured so far is safe; make room and resume the run."
        if not directory.parent.is_dir():
            now = f"Somebody has removed {directory.parent}."
        raise CheckpointError(
            f"cannot write the checkpoint {place}: {error.filename}: {error.strerror}. {now}"
        ) from error
    return place


def find_checkpoint(directory: Path, last_step: int, recorded: Schedule) -> FoundCheckpoint:
    """Find the newest checkpoint that is whole and leaves no gap in what is recorded.

    Args:
        directory: the run's checkpoints; it need not exist.
        last_step: the last step that the run holds.
        recorded: the steps that are recorded. A checkpoint after one that is not there is passed over.
    """
    damaged: list[str] = []
    for step in reversed(checkpoint_steps(directory)):
        if recorded.after(last_step) > step:
            try:
                return FoundCheckpoint(load_checkpoint(directory / f"step_{step:07d}"), damaged)
            except CheckpointError as error:
                damaged.append(str(error))
    return FoundCheckpoint(None, damaged)


def load_checkpoint(path: Path) -> LoopState:
    """Read a checkpoint and check every byte of it.

    Raises:
        CheckpointError: a file is missing, or is not what was written, or the format is newer.
    """
    try:
        index, image = read_checkpoint(path)
    except DamagedError as error:
        raise CheckpointError(str(error)) from error
    if index["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {index['format']}; this version of embevo reads format {FORMAT}"
        )
    return LoopState(index["step"], load(image), index["numbers"])


def _sweep(directory: Path) -> None:
    """Delete what a killed process left half written or half deleted."""
    if directory.is_dir():
        for path in directory.iterdir():
            if path.name.endswith(PARTIAL):
                shutil.rmtree(path)


def _discard(place: Path) -> None:
    """Delete a checkpoint; under another name first, so that half of one is never taken for one."""
    trash = place.with_name(f"{place.name}.old{PARTIAL}")
    place.rename(trash)
    shutil.rmtree(trash)
