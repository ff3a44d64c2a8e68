"""The zarr extension type ``bfloat16``, found by zarr through entry points.

zarr imports this module in processes that never heard of embevo, so it needs nothing but ml_dtypes. zarr 3.1,
the last for Python 3.11, collects the entry points of ``zarr.data_type`` and never loads them; it does load
those of ``zarr.buffer`` before it reads anything. So there is one of those as well: it hands zarr its own
Buffer, and what matters is that this module is imported and registers the type.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import ml_dtypes
import numpy as np
import zarr.dtype
import zarr.errors
from zarr.core.buffer.cpu import Buffer
from zarr.core.dtype.common import HasEndianness, HasItemSize
from zarr.dtype import ZDType, data_type_registry

__all__ = ["BFloat16", "Buffer", "DataTypeValidationError"]

_NATIVE: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
# Newer versions of zarr have it in zarr.errors, and warn whoever imports it from where it was.
_MODULE = zarr.errors if hasattr(zarr.errors, "DataTypeValidationError") else zarr.dtype
DataTypeValidationError: type[ValueError] = _MODULE.DataTypeValidationError


@dataclass(frozen=True)
class BFloat16(ZDType[Any, Any], HasEndianness, HasItemSize):
    """bfloat16: the upper 16 bits of a float32, little-endian in memory.

    Fill values are written as numbers, as ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, or read from the
    hexadecimal form ``"0x7fc0"`` of the Zarr v3 specification of floats.
    """

    dtype_cls: ClassVar[type[Any]] = type(_NATIVE)
    _zarr_v3_name: ClassVar[Literal["bfloat16"]] = "bfloat16"

    @property
    def item_size(self) -> int:
        """Bytes of one element."""
        return 2

    @classmethod
    def from_native_dtype(cls, dtype: np.dtype[Any]) -> Self:
        """The Zarr type of the numpy dtype of ml_dtypes; anything else raises DataTypeValidationError."""
        if dtype != _NATIVE:
            raise DataTypeValidationError(f"{dtype} is not the bfloat16 of ml_dtypes")
        return cls()

    def to_native_dtype(self) -> np.dtype[Any]:
        """The numpy dtype of ml_dtypes."""
        return _NATIVE

    @classmethod
    def _from_json_v2(cls, data: object) -> Self:
        raise DataTypeValidationError(f"bfloat16 is defined for Zarr format 3 only, not for {data!r}")

    @classmethod
    def _from_json_v3(cls, data: object) -> Self:
        if data in (cls._zarr_v3_name, {"name": cls._zarr_v3_name}):
            return cls()
        raise DataTypeValidationError(f"{data!r} is not {cls._zarr_v3_name!r}")

    def to_json(self, zarr_format: int) -> Any:
        """The name, in metadata of Zarr format 3."""
        if zarr_format != 3:
            raise ValueError(f"bfloat16 is defined for Zarr format 3 only, not for {zarr_format}")
        return self._zarr_v3_name

    def _check_scalar(self, data: object) -> bool:
        return isinstance(data, (int, float, np.integer, np.floating, ml_dtypes.bfloat16))

    def cast_scalar(self, data: object) -> Any:
        """A bfloat16 scalar of a number."""
        if not self._check_scalar(data):
            raise TypeError(f"{data!r} is not a number")
        return _NATIVE.type(data)

    def default_scalar(self) -> Any:
        """Zero."""
        return _NATIVE.type(0)

    def from_json_scalar(self, data: object, *, zarr_format: int) -> Any:  # noqa: ARG002
        """A bfloat16 scalar of a fill value in metadata."""
        if isinstance(data, str) and data.startswith("0x"):
            return np.array(int(data, 16), np.uint16).view(_NATIVE)[()]
        if isinstance(data, str):
            return _NATIVE.type(float(data.replace("Infinity", "inf")))
        return self.cast_scalar(data)

    def to_json_scalar(self, data: object, *, zarr_format: int) -> float | str:  # noqa: ARG002
        """A bfloat16 scalar as metadata writes it."""
        value = float(self.cast_scalar(data))
        if np.isnan(value):
            return "NaN"
        if np.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value


data_type_registry.register("bfloat16", BFloat16)
