"""What users write for a source that is no plain tensor."""

from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer

from embevo.errors import ArgumentError
from embevo.recording.numbers import shown
from embevo.recording.phased import Given, Gradient, OptimizerState, Phase
from embevo.recording.sources import followed


def gradient(parameter: Tensor) -> Gradient:
    """A source: the gradient of a parameter as the optimizer gets it, NaN at steps that have none.

    It is taken before the optimizer's step: by :func:`embevo.record` and the adapters, or by
    ``recorder.before_step()`` in a loop of your own.

    Args:
        parameter: of any shape; it is followed to whatever its module holds in its place.

    Raises:
        ArgumentError: that is no tensor.
        StaleTensorError: that is a copy of what is trained.
    """
    return Gradient(followed(_tensor(parameter)))


def optimizer_state(optimizer: Optimizer, parameter: Tensor, key: str) -> OptimizerState:
    """A source: what an optimizer keeps for a parameter under ``key``, NaN before its first step.

    Args:
        optimizer: that steps the parameter.
        parameter: likewise followed.
        key: in ``optimizer.state[parameter]``.

    Raises:
        ArgumentError: the optimizer does not hold the parameter, or keeps nothing of that name.
        StaleTensorError: the parameter is a copy of what is trained.
    """
    return OptimizerState(optimizer, followed(_tensor(parameter)), key)


def source(call: Callable[[], Tensor | None], *, like: Tensor, before_step: bool = False) -> Given:
    """A source: what a callable gives, NaN where that is None.

    Args:
        call: gives a tensor, or None.
        like: a tensor of the shape and dtype that it will give; its values do not matter.
        before_step: take it before the optimizer's step instead of after it.

    Raises:
        ArgumentError: one of them is something else.
    """
    if not callable(call):
        raise ArgumentError(f"call is {shown(call)}; pass a function without arguments that gives a tensor")
    return Given(call, _tensor(like), Phase.BEFORE if before_step else Phase.AFTER)


def _tensor(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{shown(value)} is no torch tensor")
    return value
