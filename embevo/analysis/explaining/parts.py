"""An update in float64: what the gradient, the momentum and the weight decay each ask for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.auditing.settings import OptimizerSettings

Floats = NDArray[np.float64]


class Parts(NamedTuple):
    """What a step asks for, each ``(step, token, dim)`` in embedding units; together the attempted update."""

    gradient: Floats
    momentum: Floats
    decay: Floats


class Recorded(NamedTuple):
    """What is known of some steps.

    Attributes:
        weights: ``(step, token, dim)`` before each step.
        gradient: likewise, as the optimizer got it.
        before: moments before each step, zeros where there are none yet.
        second: what Adam divides by the root of, after each step; None for SGD.
        counts: ``(step,)`` which of the optimizer's steps each is, from 1.
        rates: ``(step,)`` learning rates.
    """

    weights: Floats
    gradient: Floats
    before: Mapping[str, Floats]
    second: Floats | None
    counts: NDArray[np.int64]
    rates: Floats


def parts_of(settings: OptimizerSettings, of: Recorded) -> Parts:
    """Take updates apart.

    With AdamW, m = b1 m' + (1 - b1) g, and a step asks for
    -lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) - lr wd W (Loshchilov and Hutter, "Decoupled weight
    decay regularization", 2019, algorithm 2). The two terms of m are the momentum's and the gradient's part.
    With Adam and SGD the decay wd W is added to the gradient, and the part of the decay is that of this step;
    what earlier steps added is in the momentum.
    """
    rate = of.rates[:, np.newaxis, np.newaxis]
    count = of.counts[:, np.newaxis, np.newaxis].astype(np.float64)
    pull = -of.gradient if settings.maximize else of.gradient
    decayed = settings.weight_decay * of.weights
    if settings.kind == "SGD" or of.second is None:
        return _of_sgd(settings, rate, count, (pull, decayed), of.before)
    first, other = settings.betas
    root = np.sqrt(of.second / (1 - other**count)) + settings.eps
    scale = -rate / (1 - first**count) / root
    momentum = scale * first * of.before["exp_avg"]
    if settings.kind == "AdamW":
        return Parts(scale * (1 - first) * pull, momentum, -rate * decayed)
    return Parts(scale * (1 - first) * pull, momentum, scale * (1 - first) * decayed)


def _of_sgd(
    settings: OptimizerSettings,
    rate: Floats,
    count: Floats,
    asked: tuple[Floats, Floats],
    before: Mapping[str, Floats],
) -> Parts:
    pull, decayed = asked
    if not settings.momentum:
        return Parts(-rate * pull, np.zeros_like(pull), -rate * decayed)
    # The first gradient is the first buffer, whatever the dampening.
    kept = np.where(count == 1, 1.0, 1 - settings.dampening)
    carried = settings.momentum * before["momentum_buffer"]
    if not settings.nesterov:
        return Parts(-rate * kept * pull, -rate * carried, -rate * kept * decayed)
    ahead = 1 + settings.momentum * kept
    return Parts(-rate * ahead * pull, -rate * settings.momentum * carried, -rate * ahead * decayed)


_WORDS = {2: np.int16, 4: np.int32, 8: np.int64}


def half_gap(values: NDArray[Any], towards: Floats) -> Floats:
    """Half the distance from each value to its neighbour in its own dtype, on the side that it is moved to.

    An update smaller than that is rounded away.

    Args:
        values: in the dtype in which the model has them.
        towards: the update; only its sign matters.
    """
    wide = values.astype(np.float64)
    words = np.ascontiguousarray(values).view(_WORDS[values.dtype.itemsize])
    # The next bit pattern is the neighbour away from zero, for negative numbers too.
    away = (np.sign(towards) == np.sign(wide)) | (wide == 0)
    neighbour = (words + np.where(away, 1, -1).astype(words.dtype)).view(values.dtype)
    half: Floats = np.abs(neighbour.astype(np.float64) - wide) / 2
    return half
