"""Numbers in JSON, which knows neither NaN nor infinity: null, "inf" and "-inf" stand for them."""

import math
from typing import Any

import numpy as np


def to_plain(value: Any) -> Any:
    """A value with plain Python numbers in it, and lists for tuples and arrays."""
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return to_plain(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def number_of(value: float | str | None) -> float:
    """The float that a number made by :func:`to_plain` stands for: NaN for null."""
    return math.nan if value is None else float(value)
