"""The loss and the norm of the gradient that a Trainer computes for the step under way.

The Trainer shows its callbacks neither before it logs them, after the step and as an average of several. But
whatever computes its loss (the model, a loss function of one's own, label smoothing), it hands the loss of
every batch to the ``backward`` of its Accelerator, and it has the norm from ``clip_grad_norm_``. So these two
are followed, and left as they were when nobody follows them any more.
"""

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

import torch
from accelerate import Accelerator
from torch import Tensor

_LOSS: Final = "backward"
_NORM: Final = "clip_grad_norm_"
_ORIGINAL: Final[dict[str, Callable[..., Any]]] = {}


class AcceleratorNumbers:
    """Sums the losses of the batches of a step, as the Trainer does, and keeps the last norm."""

    def __init__(self) -> None:
        """Follow the Accelerators of this process, until :meth:`remove`."""
        self._loss: Tensor | None = None
        self._norm: Any = None
        if not _FOLLOWERS:
            _follow()
        _FOLLOWERS.add(self)

    def take(self) -> dict[str, Any]:
        """``loss`` and ``grad_norm`` since this was last called; None where there was none."""
        found = {"loss": self._loss, "grad_norm": self._norm}
        self._loss = self._norm = None
        return found

    def add_loss(self, loss: object) -> None:
        """Take in the loss of a batch, as it is divided among the batches of its step."""
        if isinstance(loss, Tensor) and loss.numel() == 1:
            value = loss.detach().reshape(())
            # From a float32 zero on, as the Trainer: the sum is the one that it logs, to the bit.
            start = torch.zeros((), device=value.device) if self._loss is None else self._loss
            self._loss = start + value

    def keep_norm(self, norm: object) -> None:
        """Take in the norm of the gradient before it is clipped."""
        self._norm = norm

    def remove(self) -> None:
        """Follow no more; a second time it does nothing."""
        _FOLLOWERS.discard(self)
        if not _FOLLOWERS:
            _let_go()


_FOLLOWERS: Final[WeakSet[AcceleratorNumbers]] = WeakSet()


def _follow() -> None:
    _let_go()
    backward = _ORIGINAL[_LOSS] = getattr(Accelerator, _LOSS)
    clip = _ORIGINAL[_NORM] = getattr(Accelerator, _NORM)

    def telling_backward(accelerator: Accelerator, loss: Any, *args: Any, **kwargs: Any) -> Any:
        for follower in _FOLLOWERS:
            follower.add_loss(loss)
        return backward(accelerator, loss, *args, **kwargs)

    def telling_clip(accelerator: Accelerator, *args: Any, **kwargs: Any) -> Any:
        norm = clip(accelerator, *args, **kwargs)
        for follower in _FOLLOWERS:
            follower.keep_norm(norm)
        return norm

    for name, telling in {_LOSS: telling_backward, _NORM: telling_clip}.items():
        setattr(Accelerator, name, telling)


def _let_go() -> None:
    while _ORIGINAL:
        setattr(Accelerator, *_ORIGINAL.popitem())
