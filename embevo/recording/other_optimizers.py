"""Noticing that what is recorded is stepped by an optimizer whose steps are not followed."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from embevo.errors import RecordingWarning
from embevo.recording.owners import same_matrix

Recorded = Callable[[], Sequence[Tensor]]


class OtherOptimizers:
    """Warns once, when an optimizer that is not followed has stepped what is recorded.

    A training that makes a new optimizer on its way, as when layers are unfrozen, would else go on without
    being recorded, and nothing would say so.
    """

    def __init__(self, followed: Sequence[object], recorded: Recorded) -> None:
        """Look at every step of an optimizer of torch's in this process, until :meth:`remove`.

        Args:
            followed: whose steps are noticed otherwise: optimizers, and what wraps them.
            recorded: gives the tensors that are recorded.
        """
        self._followed = list(followed)
        self._ids = frozenset(map(id, followed))
        self._recorded = recorded
        self._said = False
        # Those that were looked at.
        self._others: WeakSet[Optimizer] = WeakSet()
        self._handle = register_optimizer_step_post_hook(self._look)

    def _look(self, stepped: Optimizer, args: Any, kwargs: Any) -> None:
        del args, kwargs
        if self._said or id(stepped) in self._ids or stepped in self._others:
            return
        self._others.add(stepped)
        held = [member for group in stepped.param_groups for member in group["params"]]
        if any(one is other or same_matrix(one, other) for one in self._recorded() for other in held):
            # The hook stays: torch is going through the hooks now.
            self._said = True
            warnings.warn(
                f"a {type(stepped).__name__} that is not followed has stepped what is recorded; its steps "
                "are not, and those of the other with what it did between them. Where it takes the place of "
                "the one that was passed, close this recording and go on, embevo.record(model, optimizer, "
                "run, first_step=N, resume=True), N the global step of the state then; where several step "
                "the same, capture yourself with embevo.Recorder",
                RecordingWarning,
                stacklevel=4,
            )

    def remove(self) -> None:
        """Look no more; a second time it does nothing."""
        self._handle.remove()
