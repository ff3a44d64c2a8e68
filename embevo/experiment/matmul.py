"""bfloat16 matrix products on CPUs that have no instructions for them.

Without AVX512-BF16 or AMX, PyTorch multiplies bfloat16 matrices element by element: a step of the experiment
takes seven times as long as in float32. The products here widen their operands to float32, which is exact,
multiply and accumulate there, and round the result to bfloat16: the arithmetic of the hardware that has such
instructions, up to the order of the additions.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

_ATTENTION: Final = "sdpa_in_float32"


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 products that PyTorch uses."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - PyTorch has no public name for it


class _Conv1DInFloat32(Conv1D):
    """GPT-2's linear layer, with its product in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``, in the dtype of ``x``."""
        flat = x.reshape(-1, x.shape[-1]).float()
        product = torch.addmm(self.bias.float(), flat, self.weight.float())
        return product.to(x.dtype).view(*x.shape[:-1], self.nf)


class _LinearInFloat32(nn.Linear):
    """The unembedding, with its product in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``, in the dtype of ``x``."""
        return functional.linear(x.float(), self.weight.float()).to(x.dtype)


def multiply_in_float32(model: GPT2LMHeadModel) -> None:
    """Make every matrix product of a model accumulate in float32; its parameters stay what they are."""
    model.set_attn_implementation(_ATTENTION)
    for module in model.modules():
        if type(module) is Conv1D:
            module.__class__ = _Conv1DInFloat32
        elif type(module) is nn.Linear:
            module.__class__ = _LinearInFloat32


def _attention(
    module: nn.Module,  # noqa: ARG001 - the signature is that of the interface
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention over ``(batch, head, token, dim)``, computed in float32."""
    output = functional.scaled_dot_product_attention(
        query.float(),
        key.float(),
        value.float(),
        attn_mask=attention_mask,
        is_causal=attention_mask is None,
        scale=scaling,
    )
    return output.to(query.dtype).transpose(1, 2).contiguous(), None


AttentionInterface.register(_ATTENTION, _attention)
