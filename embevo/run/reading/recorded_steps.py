"""Comparing steps that are run again with what had been recorded of them."""

import shlex
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DivergedError
from embevo.run.disk.checksum import checksum
from embevo.run.reading.reader import Run


class RecordedSteps:
    """The steps that a resumed run holds already.

    Attributes:
        last: the last of them; -1 when there is none.
    """

    def __init__(self, run: Run) -> None:
        """Compare with the sealed rows of this run."""
        self._run = run
        # Where this training began: the first step that it captured.
        self._begun = -1
        self.last = int(run.steps[-1]) if len(run.steps) else -1

    def has(self, step: int) -> bool:
        """Whether a step up to the last one was recorded; it may have been dropped."""
        return bool((self._run.steps == step).any())

    def check(self, step: int, image: NDArray[np.uint8], missing: Collection[str] = ()) -> None:
        """Raise DivergedError unless the image ``(byte,)`` is the one that was recorded for the step.

        Args:
            step: one that was recorded.
            image: what a training that was begun again has now.
            missing: arrays that it does not have. Where it begins, these are not compared: the gradient that
                led to a state is not in a checkpoint.
        """
        row = int(np.searchsorted(self._run.steps, step))
        if self._begun < 0:
            self._begun = step
            if missing:
                image = self._completed(row, image, missing)
        if checksum(image.data) == self._run.image_checksum(row):
            return
        # A second try need not agree for as long as this one, but it agrees where this one began.
        keep = self._begun if self._begun < step else int(self._run.steps[row - 1]) if row else -1
        path, dropped = self._run.path, int((self._run.steps > keep).sum())
        raise DivergedError(
            f"step {step} diverged: {self._first_difference(row, image)} is not what {path} had recorded. "
            "Nothing was overwritten. Resume with the versions and the machine that the run was made with. "
            f"Or drop the {dropped:,} steps recorded after step {keep}, and record them anew: resume=True, "
            f"rewind_to={keep}; or the command "
            f"embevo rewind {shlex.quote(str(path))} --to {keep}"
        )

    def _completed(self, row: int, image: NDArray[np.uint8], missing: Collection[str]) -> NDArray[np.uint8]:
        """The image with arrays that it lacks as they were recorded."""
        ((_, recorded),) = self._run.images([row])
        completed = image.copy()
        for name in missing:
            self._run.frame.matrix(completed, name)[...] = self._run.frame.matrix(recorded, name)
        return completed

    def _first_difference(self, row: int, image: NDArray[np.uint8]) -> str:
        ((_, recorded),) = self._run.images([row])
        frame = self._run.frame
        for name, _ in frame.matrices:
            spec = frame.by_name[name]
            length = spec.shape[0]
            before = frame.matrix(recorded, name).reshape(length, -1).view(np.uint8)
            now = frame.matrix(image, name).reshape(length, -1).view(np.uint8)
            found = np.flatnonzero((before != now).any(axis=1))
            if found.size and spec.dimensions[0] == "token":
                return f"{name} of token {frame.token_ids[found[0]]} (and of {found.size - 1} more tokens)"
            if found.size:
                return f"{name} at {spec.dimensions[0]} {found[0]} (and at {found.size - 1} more)"
        return "the image"
