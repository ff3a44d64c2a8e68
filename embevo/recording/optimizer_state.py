"""What an optimizer will keep for a parameter, found out before its first step."""

import copy
from collections import defaultdict

import torch
from torch import Tensor
from torch.optim import Optimizer

from embevo.errors import ArgumentError

# What a step of an optimizer that cannot be tried on a parameter of ours may raise.
_REFUSALS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


def state_like(optimizer: Optimizer, parameter: Tensor, key: str) -> Tensor | None:
    """An empty tensor such as the optimizer will keep for a parameter; None if that cannot be found out.

    A copy of the optimizer makes one step on a parameter of zeros, with a gradient of zeros.

    Raises:
        ArgumentError: it has been found out that the optimizer keeps no tensor of that name.
    """
    state = _state_after_a_step(optimizer, parameter)
    if state is None:
        return None
    kept = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if key in kept:
        return torch.empty_like(kept[key])
    raise ArgumentError(
        f"{type(optimizer).__name__} keeps nothing called {key!r} for a parameter; it keeps "
        f"{', '.join(sorted(kept)) or 'no tensor'}"
    )


def _state_after_a_step(optimizer: Optimizer, parameter: Tensor) -> dict[str, object] | None:
    """The state that a step makes, by name; None where no step can be tried."""
    group = next(
        (group for group in optimizer.param_groups if any(held is parameter for held in group["params"])),
        None,
    )
    if group is None:
        return None
    tried = torch.nn.Parameter(torch.zeros_like(parameter))
    tried.grad = torch.zeros_like(tried)
    try:
        # A copy of an optimizer has only what every optimizer has, and no hooks.
        trial = copy.copy(optimizer)
        for name, value in vars(optimizer).items():
            if name not in vars(trial) and not name.startswith("_") and _is_plain(value):
                setattr(trial, name, copy.deepcopy(value))
        trial.state = defaultdict(dict)
        trial.param_groups = [{**group, "params": [tried]}]
        trial.step()
    except _REFUSALS:
        return None
    return dict(trial.state.get(tried, {}))


def _is_plain(value: object) -> bool:
    """Whether it is a setting of an optimizer: numbers, texts, tables, and nothing that trains."""
    if isinstance(value, Tensor):
        return not isinstance(value, torch.nn.Parameter) and value.is_leaf and not value.requires_grad
    if isinstance(value, dict):
        return all(_is_plain(part) for part in (*value.keys(), *value.values()))
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device))
