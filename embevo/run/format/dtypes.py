"""The dtypes that are recorded, by their names in the field, in safetensors and in numpy."""

from typing import Any, Final

import ml_dtypes
import numpy as np

# safetensors lays tensors out by dtype, widest first and in this order, and by name within a dtype.
SAFETENSORS_CODES: Final = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
# Those that have a NaN, which stands for what does not exist at a step. A run of format 1 has no others.
FLOATS: Final = ("float64", "float32", "bfloat16", "float16")
# Those that the group may widen to float32, which is exact.
HALVES: Final = ("bfloat16", "float16")
NUMPY_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name) for name in SAFETENSORS_CODES
}


def fill_of(dtype: np.dtype[Any]) -> float | int | bool:
    """What stands behind the last row of a block: NaN, or what is nearest to nothing in other dtypes."""
    if dtype.kind == "b":
        return False
    return 0 if dtype.kind in "iu" else float("nan")
