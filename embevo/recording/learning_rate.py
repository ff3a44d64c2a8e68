"""The learning rate that an optimizer uses for what is recorded."""

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from embevo.errors import RecordingWarning
from embevo.recording.owners import same_matrix


class LearningRate:
    """Looked up in the parameter group that holds a recorded tensor, or in the first group if none does."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """Look in the group of the first of these tensors that an optimizer has."""
        self._tensors = tensors
        self._group = 0
        self._groups = -1
        self._said = False

    def of(self, optimizer: object) -> Any:
        """What the group says, be it a number or not; None, and once a warning, where it says nothing."""
        rate = self._look(optimizer)
        if rate is None and not self._said:
            self._said = True
            warnings.warn(
                f"{type(optimizer).__name__} says no learning rate ('lr') for what is recorded: NaN is "
                "recorded for it. Capture yourself, capture(step, lr=...), where you know it.",
                RecordingWarning,
                stacklevel=4,
            )
        return rate

    def _look(self, optimizer: object) -> Any:
        groups = getattr(optimizer, "param_groups", None)
        if not isinstance(groups, Sequence) or not groups:
            return None
        if len(groups) != self._groups:
            self._groups, self._group = len(groups), self._find(groups)
        group = groups[self._group]
        return group.get("lr") if isinstance(group, dict) else None

    def _find(self, groups: Sequence[Any]) -> int:
        for tensor in self._tensors:
            for index, group in enumerate(groups):
                members = group.get("params", ()) if isinstance(group, dict) else ()
                if any(member is tensor or same_matrix(member, tensor) for member in members):
                    return index
        return 0
