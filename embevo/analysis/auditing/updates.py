"""One step of an optimizer, by torch's own functions, on tensors that were recorded."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from embevo.analysis.auditing.settings import OptimizerSettings


@dataclass(frozen=True, eq=False)
class State:
    """What a step begins with and ends with.

    Attributes:
        weights: ``(token, dim)``, or of any other shape.
        moments: by the optimizer's name for them, of that shape; empty before the first step.
    """

    weights: Tensor
    moments: dict[str, Tensor] = field(default_factory=dict)

    def arrays(self) -> dict[str, Tensor]:
        """All of it by name; the weights have the empty name."""
        return {"": self.weights, **self.moments}


@dataclass(frozen=True)
class Rule:
    """How a step is supposed to have been made.

    Attributes:
        settings: the optimizer's, with the implementation.
        kept_in: a dtype that moments are rounded to when a step is done, such as ``bfloat16``; None for the
            one that they are recorded in, or else that of the weights.
        rate_shift: the learning rate is that of the row so many rows later.
        step_shift: the optimizer has made so many steps more than was counted.
        clipped: the gradient was scaled by one factor a step after it was recorded.
    """

    settings: OptimizerSettings
    kept_in: str | None = None
    rate_shift: int = 0
    step_shift: int = 0
    clipped: bool = False


@torch.no_grad()
def updated(rule: Rule, before: State, gradient: Tensor, count: int, rate: float) -> State:
    """The state after a step.

    It is computed in the wider of the dtypes of weights and moments, and each array is rounded to its own.

    Args:
        rule: the optimizer, its implementation and where it keeps its moments.
        before: the state before the step; it is not changed.
        gradient: as the optimizer gets it.
        count: which of the optimizer's steps it is, from 1.
        rate: the learning rate.
    """
    settings = rule.settings
    own = before.weights.dtype
    kept = getattr(torch, rule.kept_in) if rule.kept_in else None
    recorded = next((moment.dtype for moment in before.moments.values()), own)
    dtype = torch.promote_types(own, kept or recorded)
    weights = before.weights.to(dtype, copy=True)
    moments = {name: moment.to(dtype, copy=True) for name, moment in before.moments.items()}
    gradient = gradient.to(dtype)
    if settings.kind == "SGD":
        _sgd(settings, weights, gradient, moments, rate)
    else:
        _adam(settings, weights, gradient, moments, (count + rule.step_shift, rate))
    if kept is not None and recorded == own and torch.promote_types(own, kept) == own:
        # What is kept in fewer bits was recorded in the weights' dtype, and holds only what fits into them.
        moments = {name: moment.to(kept) for name, moment in moments.items()}
    kept_as = recorded if before.moments else (kept or own)
    return State(weights.to(own), {name: moment.to(kept_as) for name, moment in moments.items()})


def _adam(
    settings: OptimizerSettings,
    weights: Tensor,
    gradient: Tensor,
    moments: dict[str, Tensor],
    at: tuple[int, float],
) -> None:
    count, rate = at
    for name in settings.moments:
        moments.setdefault(name, torch.zeros_like(weights))
    (adamw if settings.kind == "AdamW" else adam)(
        [weights],
        [gradient],
        [moments["exp_avg"]],
        [moments["exp_avg_sq"]],
        [moments["max_exp_avg_sq"]] if settings.amsgrad else [],
        [torch.tensor(float(count - 1), device=weights.device)],
        foreach=settings.implementation == "foreach",
        fused=settings.implementation == "fused",
        amsgrad=settings.amsgrad,
        beta1=settings.betas[0],
        beta2=settings.betas[1],
        lr=rate,
        weight_decay=settings.weight_decay,
        eps=settings.eps,
        maximize=settings.maximize,
    )


def _sgd(
    settings: OptimizerSettings, weights: Tensor, gradient: Tensor, moments: dict[str, Tensor], rate: float
) -> None:
    name = "momentum_buffer"
    buffers: list[Tensor | None] = [moments.get(name)]
    # With momentum the plain implementation takes the first gradient itself for its buffer.
    sgd(
        [weights],
        [gradient.clone()],
        buffers,
        foreach=settings.implementation == "foreach",
        fused=settings.implementation == "fused",
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        lr=rate,
        dampening=settings.dampening,
        nesterov=settings.nesterov,
        maximize=settings.maximize,
    )
    if settings.momentum and buffers[0] is not None:
        moments[name] = buffers[0]


_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(values: Tensor) -> Tensor:
    """The bit patterns, as whole numbers of the same width."""
    return values.contiguous().view(_WORDS[values.element_size()])


def ulps_between(one: Tensor, other: Tensor) -> Tensor:
    """How many representable numbers apart two are, int64; +0 and -0 are none apart."""
    places = []
    for values in (one, other):
        bits = bits_of(values)
        signless = torch.iinfo(bits.dtype).max
        wide = bits.long()
        places.append(torch.where(wide < 0, -(wide & signless), wide))
    return (places[0] - places[1]).abs()
