"""The factor that a gradient was scaled by between its recording and the optimizer's step."""

from typing import Final

import torch
from torch import Tensor

from embevo.analysis.auditing.recorded import Update
from embevo.analysis.auditing.updates import Rule, State, bits_of, updated

# The factor is estimated to a few units in its last place; these are tried on both sides of it.
_NEIGHBOURS: Final = 3


def scaled_gradient(rule: Rule, before: State, update: Update, rate: float) -> Tensor:
    """The gradient times the one factor with which most of the recorded step follows.

    The factor c is that of least squares, (h . g) / (g . g) in float64, where g is the recorded gradient and
    h the one that the optimizer must have got: (m' - b1 m) / (1 - b1) from Adam's first moments, and from
    SGD its momentum buffer, or else the way the weights went, without the weight decay. Nothing says it for
    Adam without recorded moments, and the gradient stays as it is.
    """
    wanted = _gradient_got(rule, before, update, rate)
    given = update.gradient
    length = float(given.double().square().sum())
    if wanted is None or length == 0:
        return given
    factor = torch.tensor(float((wanted * given.double()).sum()) / length, dtype=given.dtype)
    best, most = given, -1
    for moved in _around(factor):
        tried = given * moved.to(given.device)
        made = updated(rule, before, tried, update.count, rate).arrays()
        equal = sum(
            int((bits_of(made[name].to(found.dtype)) == bits_of(found)).sum())
            for name, found in update.after.arrays().items()
        )
        if equal > most:
            best, most = tried, equal
    return best


def _around(value: Tensor) -> list[Tensor]:
    found = [value]
    for towards in (-torch.inf, torch.inf):
        moved = value
        for _ in range(_NEIGHBOURS):
            moved = torch.nextafter(moved, torch.full_like(moved, towards))
            found.append(moved)
    return found


def _gradient_got(rule: Rule, before: State, update: Update, rate: float) -> Tensor | None:
    settings, after = rule.settings, update.after
    weights = before.weights.double()
    sign = -1.0 if settings.maximize else 1.0
    decay = 0.0 if settings.kind == "AdamW" else settings.weight_decay
    if settings.kind == "SGD":
        if not settings.momentum:
            got = (weights - after.weights.double()) / rate
        elif "momentum_buffer" not in after.moments:
            return None
        elif "momentum_buffer" in before.moments:
            kept = after.moments["momentum_buffer"].double()
            got = kept - settings.momentum * before.moments["momentum_buffer"].double()
            got = got / (1 - settings.dampening)
        else:
            got = after.moments["momentum_buffer"].double()
    elif "exp_avg" in before.moments and "exp_avg" in after.moments:
        first, beta = settings.betas[0], before.moments["exp_avg"].double()
        got = (after.moments["exp_avg"].double() - first * beta) / (1 - first)
    else:
        return None
    return sign * (got - decay * weights)
