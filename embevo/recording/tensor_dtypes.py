"""Torch's dtypes and the names that a run has for them."""

from typing import Final

import torch

DTYPE_NAMES: Final = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.int16: "int16",
    torch.int8: "int8",
    torch.uint64: "uint64",
    torch.uint32: "uint32",
    torch.uint16: "uint16",
    torch.uint8: "uint8",
    torch.bool: "bool",
}
TORCH_DTYPES: Final = {name: dtype for dtype, name in DTYPE_NAMES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """What a run calls a dtype; torch's own name for one that is not recorded."""
    return DTYPE_NAMES.get(dtype, str(dtype))
