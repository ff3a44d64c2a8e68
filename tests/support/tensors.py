"""The encoded matrices as torch tensors."""

import torch
from torch import Tensor

from support import encoded

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def matrix(step: int, shape: tuple[int, int], dtype: str, seed: int = 0) -> Tensor:
    """The encoded matrix ``(token, dim)`` of a step, in memory of its own."""
    data = bytearray(encoded.matrix(step, shape, dtype, seed).tobytes())
    return torch.frombuffer(data, dtype=DTYPES[dtype]).view(shape)
