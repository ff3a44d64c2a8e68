"""What an optimizer was told for what is recorded: its class, its implementation, its group's settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

# These are of the moment, or no settings.
_LEFT_OUT = frozenset({"params", "lr", "initial_lr", "param_names"})


def optimizer_settings(
    optimizers: Sequence[Any], parameters: Mapping[str, Tensor], main: Tensor, first_step: int
) -> dict[str, dict[str, Any]]:
    """For each recorded parameter that an optimizer holds, what a reader needs to compute its steps again.

    Args:
        optimizers: of torch.
        parameters: by the name of their array.
        main: the parameter whose learning rate is recorded.
        first_step: the global step of the state now.

    Returns:
        By the name of the array: ``class``; ``implementation``, which is fused, foreach or plain;
        ``device``; ``first_step`` and ``steps_done``, how many steps the optimizer has made until then;
        ``rate_is_recorded``, whether the group is that whose learning rate is; and what the group says that
        JSON can hold.
    """
    found = {}
    for name, parameter in parameters.items():
        for optimizer in optimizers:
            group = _group_of(optimizer, parameter)
            if group is not None:
                found[name] = {
                    "class": type(optimizer).__name__,
                    "implementation": _implementation(group, parameter),
                    "device": parameter.device.type,
                    "first_step": first_step,
                    "steps_done": _steps_done(optimizer, parameter),
                    "rate_is_recorded": group is _group_of(optimizer, main),
                    **{key: _plain(value) for key, value in group.items() if _is_kept(key, value)},
                }
    return found


def _group_of(optimizer: Any, parameter: Tensor) -> dict[str, Any] | None:
    groups = getattr(optimizer, "param_groups", None) or []
    known = (group for group in groups if isinstance(group, dict))
    return next((group for group in known if any(held is parameter for held in group["params"])), None)


def _implementation(group: Mapping[str, Any], parameter: Tensor) -> str:
    """Which of its implementations torch takes: where nothing is said, foreach on CUDA and else the plain."""
    if group.get("fused"):
        return "fused"
    if group.get("foreach") is None:
        return "foreach" if parameter.device.type == "cuda" else "plain"
    return "foreach" if group["foreach"] else "plain"


def _steps_done(optimizer: Any, parameter: Tensor) -> int:
    state = getattr(optimizer, "state", {})
    counted = state[parameter].get("step", 0) if parameter in state else 0
    return int(counted)


def _is_kept(key: object, value: object) -> bool:
    return (
        isinstance(key, str)
        and key not in _LEFT_OUT
        and (
            value is None
            or isinstance(value, str)
            or _is_number(value)
            or (isinstance(value, tuple | list) and all(map(_is_number, value)))
        )
    )


def _is_number(value: object) -> bool:
    """JSON has no infinity."""
    return isinstance(value, int | float) and math.isfinite(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
