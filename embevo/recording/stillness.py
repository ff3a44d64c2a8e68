"""Matrices that stand still while optimizers step: most often copies of what is trained."""

import warnings
from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor
from torch.nn import Parameter
from torch.optim.optimizer import register_optimizer_step_post_hook

from embevo.errors import RecordingWarning
from embevo.run.disk.checksum import checksum
from embevo.run.journal.ring import Journal

STILL_CAPTURES: Final = 100
# So many bytes in the middle of a matrix are compared first: where it moves, they mostly do.
_PROBE_BYTES: Final = 64


def is_frozen(tensor: Tensor) -> bool:
    """Whether a tensor is meant to stand still."""
    return isinstance(tensor, Parameter) and not tensor.requires_grad


class Steps:
    """Counts the steps of all torch optimizers of this process, until it is told to stop.

    Attributes:
        count: so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._handle = register_optimizer_step_post_hook(self._after)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        del optimizer, args, kwargs
        self.count += 1

    def stop(self) -> None:
        """Count no more."""
        self._handle.remove()


class _Matrix:
    """What is known of one of them: since when it has these bits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.probe = b""
        self.checksum = -1
        self.captures = 0
        self.steps = 0


class Stillness:
    """Looks at each row after it was captured; all of it belongs to the writer thread but ``noticed``.

    Attributes:
        noticed: names of matrices that have had the same bits for 100 captures, each once; the training
            thread takes them out.
    """

    def __init__(self, journal: Journal, steps: Steps, frozen: Sequence[str] = ()) -> None:
        """Look at every matrix of the rows of a journal but those that are frozen on purpose."""
        self.noticed: list[str] = []
        self._journal = journal
        self._steps = steps
        self._watched = [_Matrix(name) for name, _ in journal.frame.matrices if name not in frozen]
        self._alone = len(journal.frame.matrices) == 1

    def look(self, row: int) -> None:
        """Compare a sealed row with the one before."""
        for matrix in self._watched:
            if self._moved(matrix, row):
                matrix.captures = 0
                matrix.steps = self._steps.count
                continue
            matrix.captures += 1
            # Steps are counted when the row is looked at, some after it was captured: half of them will do.
            stepped = self._steps.count - matrix.steps >= STILL_CAPTURES // 2
            if matrix.captures >= STILL_CAPTURES and stepped:
                self.noticed.append(matrix.name)
                self._watched = [other for other in self._watched if other is not matrix]

    def say(self) -> None:
        """Warn of what was noticed; for the training thread."""
        while self.noticed:
            warnings.warn(
                f"{self.noticed.pop()} has had the same bits for {STILL_CAPTURES} captures while optimizers "
                "stepped. It may be a copy of what is trained, or no optimizer has it. Record the parameter "
                "itself, or give its name and module=model; if it is meant to stand still, all is well.",
                RecordingWarning,
                stacklevel=3,
            )

    def _moved(self, matrix: _Matrix, row: int) -> bool:
        if self._alone:
            # The image is this matrix and a header that never changes, and its checksum is there already.
            before, matrix.checksum = matrix.checksum, self._journal.image_checksum(row)
            return before != matrix.checksum
        payload = self._journal.payload(row, matrix.name)
        middle = len(payload) // 2
        probe = bytes(payload[middle : middle + _PROBE_BYTES])
        if probe != matrix.probe:
            matrix.probe, matrix.checksum = probe, -1
            return True
        # When the probe has only just come to a standstill, the rest is taken to have moved: it is not known.
        before, matrix.checksum = matrix.checksum, checksum(payload)
        return before != matrix.checksum
