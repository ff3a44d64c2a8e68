"""The dtypes that are recorded, by their names in the field, in safetensors and in numpy."""

from typing import Any, Final

import ml_dtypes
import numpy as np

# safetensors lays tensors out by dtype, widest first, and by name within a dtype.
SAFETENSORS_CODES: Final = {"float64": "F64", "float32": "F32", "bfloat16": "BF16", "float16": "F16"}
NUMPY_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
