"""Arrays of a run as tensors: the one file here that needs torch, and imports it when one is asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ArgumentError, MissingLibraryError
from embevo.run.format.dtypes import NUMPY_DTYPES

if TYPE_CHECKING:
    import torch

Tensor: TypeAlias = "torch.Tensor"
Dtype: TypeAlias = "torch.dtype | str | None"
_BFLOAT16: Final = NUMPY_DTYPES["bfloat16"]


def tensor_of(read: Callable[[bool], NDArray[Any]], recorded: np.dtype[Any], dtype: Dtype) -> Tensor:
    """See :meth:`embevo.run.reading.step_array.StepArray.torch`.

    Args:
        read: gives the values, natively if that is asked for.
        recorded: the native dtype.
        dtype: of the tensor.
    """
    try:
        import torch  # noqa: PLC0415 - reading a run takes no torch
    except ImportError as error:
        raise MissingLibraryError("A run as tensors needs torch: pip install torch.") from error

    if not (dtype is None or dtype == "native" or isinstance(dtype, torch.dtype)):
        raise ArgumentError(f"dtype={dtype!r} is none of torch's: give such as torch.float32, or 'native'")
    native = dtype == "native" or dtype == getattr(torch, recorded.name)
    values = np.asarray(read(native))
    if values.dtype == _BFLOAT16:
        # numpy has no bfloat16 that torch knows: the bits change hands.
        tensor = torch.from_numpy(values.view(np.uint16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(values)
    return tensor if dtype is None or isinstance(dtype, str) else tensor.to(dtype)
