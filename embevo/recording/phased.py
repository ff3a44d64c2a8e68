"""Sources that are taken at a moment of their own, or that have nothing to give at some steps.

A gradient is replaced by every ``zero_grad()``, and the moments of an optimizer do not exist before its first
step. So such a source is not a tensor but the way to one, and says itself what shape and dtype it will have.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import Final

import torch
from torch import Tensor
from torch.optim import Optimizer

from embevo.errors import ArgumentError
from embevo.recording.optimizer_state import state_like

# The least of the floating dtypes that hold every number of such a dtype; of 64 bits, those up to 2^53.
_WITH_NAN: Final = {
    torch.bool: torch.float16,
    torch.uint8: torch.float16,
    torch.int8: torch.float16,
    torch.int16: torch.float32,
    torch.int32: torch.float64,
    torch.int64: torch.float64,
}


def with_nan(tensor: Tensor) -> Tensor:
    """A tensor in a dtype that has NaN, equal in every number; itself where it has one."""
    dtype = _WITH_NAN.get(tensor.dtype)
    return tensor if dtype is None else tensor.to(dtype)


class Phase(Enum):
    """When a source is taken."""

    BEFORE = "before the optimizer's step"
    AFTER = "after it, with the capture"


class Phased(ABC):
    """The way to a tensor.

    Attributes:
        phase: when it is taken.
    """

    phase: Phase = Phase.AFTER

    @abstractmethod
    def __call__(self) -> Tensor | None:
        """The tensor as it is now; None where there is none, which is recorded as NaN."""

    @abstractmethod
    def like(self) -> Tensor | None:
        """A tensor of its shape and dtype, whether or not there is one yet; None if that cannot be known."""


class Given(Phased):
    """What a callable gives, with its shape and dtype said beforehand."""

    def __init__(self, call: Callable[[], Tensor | None], like: Tensor, phase: Phase) -> None:
        """Call it each time."""
        self.phase = phase
        self._call = call
        self._like = like

    def __call__(self) -> Tensor | None:
        """What the callable returns.

        Raises:
            ArgumentError: that is neither a tensor nor None.
        """
        value = self._call()
        if value is not None and not isinstance(value, Tensor):
            raise ArgumentError(
                f"a source gave {type(value).__name__}; it gives a torch tensor, or None where there is none"
            )
        return value

    def like(self) -> Tensor:
        """What was said."""
        return self._like


class Gradient(Phased):
    """The gradient of a parameter as the optimizer gets it: accumulated, unscaled and clipped.

    Attributes:
        scale: what it is still multiplied with, where the optimizer itself unscales it; None if nothing.
        is_known: whether what lies there before the step is what the step will use.
        parameter: gives the parameter.
    """

    phase = Phase.BEFORE

    def __init__(self, parameter: Callable[[], Tensor]) -> None:
        """Take the gradient of the parameter that a callable gives."""
        self.scale: Tensor | None = None
        self.is_known = True
        self.parameter = parameter

    def __call__(self) -> Tensor | None:
        """The gradient; None where there is none. A sparse one is made dense."""
        gradient = self.parameter().grad
        if gradient is None or not self.is_known:
            return None
        if gradient.is_sparse:
            gradient = gradient.to_dense()
        return gradient if self.scale is None else gradient / self.scale.to(gradient.device, gradient.dtype)

    def like(self) -> Tensor:
        """The parameter has its shape and dtype."""
        return self.parameter()


class OptimizerState(Phased):
    """A tensor that an optimizer keeps for a parameter, such as ``exp_avg``.

    Before the optimizer's first step there is none, and NaN stands for it. So whole numbers, such as the
    bytes of optimizers that keep their moments in 8 bits, are given in a floating dtype that holds each.

    Attributes:
        parameter: gives the parameter.
    """

    def __init__(self, optimizer: Optimizer, parameter: Callable[[], Tensor], key: str) -> None:
        """Look ``key`` up in the optimizer's state of the parameter that a callable gives.

        Raises:
            ArgumentError: the optimizer does not hold the parameter, or is known to keep nothing of that
                name.
        """
        self._optimizer = optimizer
        self.parameter = parameter
        self._key = key
        if not any(held is parameter() for group in optimizer.param_groups for held in group["params"]):
            raise ArgumentError(
                f"{type(optimizer).__name__} does not hold the parameter whose {key} shall be recorded: pass "
                "the optimizer that steps it"
            )
        now = self()
        like = state_like(optimizer, parameter(), key) if now is None else now
        self._like = None if like is None else with_nan(like)

    def __call__(self) -> Tensor | None:
        """The tensor; None before the optimizer's first step."""
        state, parameter = self._optimizer.state, self.parameter()
        # Asking a defaultdict for what it does not have would put it there.
        value = state[parameter].get(self._key) if parameter in state else None
        return with_nan(value) if isinstance(value, Tensor) else None

    def like(self) -> Tensor | None:
        """What it is, or what it will be after the first step."""
        return self._like
