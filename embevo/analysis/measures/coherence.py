"""Do tokens move the same way? The mean cosine between their displacements."""

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.geometry import norms


def mean_pairwise_cosine(displacements: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean, over pairs of different tokens that both moved, of the cosine of their displacements.

    With unit vectors u of n moving tokens it is (|sum u|^2 - n) / (n (n - 1)): no pair is looked at.

    Args:
        displacements: ``(step, token, dim)``.

    Returns:
        ``(step,)``, from -1/(n-1) to 1; NaN where fewer than two tokens moved, or one is not finite.
    """
    lengths = norms(displacements)
    moved = lengths != 0
    with np.errstate(invalid="ignore", divide="ignore"):
        units = displacements / np.where(moved, lengths, 1)[..., None]
        count = moved.sum(axis=1).astype(np.float64)
        total = units.sum(axis=1)
        found = (np.einsum("sd,sd->s", total, total) - count) / (count * (count - 1))
    found[count < 2] = np.nan
    return np.asarray(found, np.float64)
