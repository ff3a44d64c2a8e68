"""What is known of a matrix before its rows are read, and what is asked of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import pays
from embevo.analysis.measures.grid import spaced_rows
from embevo.analysis.measures.groups import Groups

Basis = Literal["final", "all"]
# What is kept of the measured rows, unless all of them is asked for.
_KEPT_BYTES: Final = 64 << 20
# Up to so many tokens every pair is compared.
MOST_PAIRED: Final = 1_000


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
        logits: ``(measured_step, token)`` mean logits of the whole vocabulary; None where not recorded.
        measures: names of the measures to take beside those that are always taken; None for the usual ones.
        exact: look at all tokens and all their pairs, whatever time and memory that takes.
        without: names of measures that are left out although they are always taken.
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
    logits: NDArray[np.float64] | None = None
    measures: tuple[str, ...] | None = None
    exact: bool = False
    without: tuple[str, ...] = ()

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

    @cached_property
    def compiled(self) -> bool:
        """Whether loops over elements are machine code."""
        return pays(self.rows, self.tokens * self.dim)

    @cached_property
    def measured(self) -> NDArray[np.int64]:
        """The rows that costly measures are taken at."""
        return spaced_rows(self.rows)

    @cached_property
    def kept(self) -> Groups:
        """Every k-th token of each group, so that the measured rows of them fit into 64 MiB."""
        row = self.dim * max(4, self.dtype.itemsize) * len(self.measured)
        return self.groups if self.exact else self.groups.sampled(max(1, _KEPT_BYTES // row))

    @cached_property
    def sample(self) -> Groups:
        """Of these every k-th token of each group, so that there are about 1,000 to compare in pairs."""
        return self.kept if self.exact else self.kept.sampled(MOST_PAIRED)

    @cached_property
    def kept_places(self) -> tuple[NDArray[np.int64], ...]:
        """For each group the places of its kept tokens among all that are kept."""
        return tuple(np.searchsorted(self.kept.together, ids) for ids in self.kept.ids)

    @cached_property
    def sample_places(self) -> tuple[NDArray[np.int64], ...]:
        """For each group the places of its tokens in the sample."""
        return tuple(np.searchsorted(self.sample.together, ids) for ids in self.sample.ids)
