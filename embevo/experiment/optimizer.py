"""The optimizer that the Hugging Face Trainer would make."""

from typing import Final

import torch
from torch import nn

# The Trainer's default has been the fused AdamW since this version of torch.
_FUSED_SINCE: Final = (2, 8)
FUSED: Final = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= _FUSED_SINCE


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with the Trainer's two groups: no decay on biases and LayerNorm.

    Args:
        model: whose parameters are optimised; a tied parameter counts once.
        learning_rate: of the first step.
        weight_decay: of all other parameters.
    """
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (others if id(parameter) in norms or name.endswith("bias") else decayed).append(parameter)
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=FUSED or None,
    )


def linear_decay(learning_rate: float, step: int, steps: int) -> float:
    """The rate of the update after ``step`` updates: all of it at first, 0 after ``steps``, no warm-up.

    The order of the operations is that of transformers' linear schedule, for the sake of the last bit.
    """
    return learning_rate * max(0.0, float(steps - step) / float(max(1, steps)))
