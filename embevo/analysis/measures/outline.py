"""What is known of a matrix before its rows are read, and what is asked of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.groups import Groups

Basis = Literal["final", "all"]


@dataclass(frozen=True, eq=False)
class Outline:
    """A matrix of a run, without its values. Whoever measures a stretch of the run needs all of it.

    Attributes:
        steps: ``(step,)`` int64 global step of every row of the run.
        tokens: how many rows the matrix has.
        dim: how many columns.
        dtype: in which it was recorded.
        groups: the tokens of each group.
        scalars: ``(step,)`` what was recorded beside the matrix, by name.
        token_count: ``(token,)`` int64 occurrences in the corpus; None where they are not known.
        token_ids: ``(token,)`` int64 which tokens they are; None where all of the vocabulary are
            recorded.
        loss_labels: how many labels of an example are predicted, and by how many its loss is divided; None
            where it is not known what the recorded loss is.
        basis: whether principal components are those of the last row or of all rows together.
        min_lag: shortest lag that exponents are fitted to, steps.
        max_share: the longest, as a share of the length of the run.
    """

    steps: NDArray[np.int64]
    tokens: int
    dim: int
    dtype: np.dtype[Any]
    groups: Groups
    scalars: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    token_count: NDArray[np.int64] | None = None
    token_ids: NDArray[np.int64] | None = None
    loss_labels: tuple[int, int] | None = (1, 1)
    basis: Basis = "final"
    min_lag: float = 10.0
    max_share: float = 0.1

    @property
    def rows(self) -> int:
        """How many rows the run has."""
        return len(self.steps)

    @cached_property
    def stride(self) -> int:
        """Steps between most neighbouring rows: one recorded interval."""
        distances = Counter(np.diff(self.steps).tolist())
        return int(distances.most_common(1)[0][0]) if distances else 1

    @cached_property
    def follows(self) -> NDArray[np.bool_]:
        """``(step,)`` whether a row comes one interval after the row before; True for the first."""
        return np.concatenate([[True], np.diff(self.steps) == self.stride])[: self.rows]

    def since_gap(self, row: int) -> int:
        """How many rows lie between the last gap, or the start of the run, and a row; 0 right after it."""
        gaps = np.flatnonzero(~self.follows[: row + 1])
        return row - int(gaps[-1]) if len(gaps) else row
