"""What became of the embedding matrix: its first recorded row beside its last."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from embevo.run.reading.reader import Run


@dataclass(frozen=True)
class Change:
    """One number at the first recorded step and at the last.

    Attributes:
        first: computed in float64.
        last: computed in float64.
    """

    first: float
    last: float

    @property
    def frozen_in_bfloat16(self) -> float | None:
        """The one number that bfloat16 would show for both although they differ; None where it shows two."""
        first, last = float(bfloat16(self.first)), float(bfloat16(self.last))
        return first if self.first != self.last and first == last else None


@dataclass(frozen=True)
class DeadTokens:
    """The tokens that never occur in the corpus.

    Attributes:
        count: how many there are.
        distinct: how many vectors they are, first and last row.
        moved: distances of each from where it was, least, mean and most.
        from_live: distance of their centroid from that of the live tokens in the last row; None without any.
        from_origin: norm of their centroid, first and last row.
    """

    count: int
    distinct: tuple[int, int]
    moved: tuple[float, float, float]
    from_live: float | None
    from_origin: Change


@dataclass(frozen=True)
class Outcome:
    """What happened between the first recorded step and the last, in the units of the embedding.

    All distances and norms are Euclidean and computed in float64 from the recorded bits.

    Attributes:
        steps: the first recorded step and the last.
        tokens: rows of the matrix.
        norm_least: the smallest norm of a token vector.
        norm_mean: the mean of the norms.
        norm_most: the largest norm.
        centroid_norm: norm of the mean of all token vectors.
        centroid_moved: distance between the first centroid and the last.
        distinct: how many different vectors there are; -0 is 0.
        dead: None where every token occurs, or nothing is known of it.
        loss: the first recorded loss and the last, in nats; None if there is none.
    """

    steps: tuple[int, int]
    tokens: int
    norm_least: Change
    norm_mean: Change
    norm_most: Change
    centroid_norm: Change
    centroid_moved: float
    distinct: tuple[int, int]
    dead: DeadTokens | None
    loss: Change | None


def outcome_of(run: Run, matrix: str = "embeddings") -> Outcome | None:
    """Read two rows of a matrix ``(step, token, dim)`` and compare them; None if nothing is recorded yet.

    Raises:
        DamagedError: stored bytes are not what was captured.
    """
    if not len(run.steps):
        return None
    # (token, dim)
    first, last = (np.asarray(run[matrix][row], np.float64) for row in (0, -1))
    norms = [np.linalg.norm(row, axis=1) for row in (first, last)]
    centroids = [row.mean(axis=0) for row in (first, last)]
    return Outcome(
        steps=(int(run.steps[0]), int(run.steps[-1])),
        tokens=len(first),
        norm_least=_change(norms, np.min),
        norm_mean=_change(norms, np.mean),
        norm_most=_change(norms, np.max),
        centroid_norm=_change(centroids, np.linalg.norm),
        centroid_moved=float(np.linalg.norm(centroids[1] - centroids[0])),
        distinct=(_distinct(first), _distinct(last)),
        dead=_dead(run, first, last),
        loss=_loss(run),
    )


def _change(rows: list[NDArray[np.float64]], measure: Callable[[NDArray[np.float64]], Any]) -> Change:
    return Change(*(float(measure(row)) for row in rows))


def _distinct(row: NDArray[np.float64]) -> int:
    # Adding 0 makes +0 of -0. Compared as bytes, so that the same NaNs are one vector.
    return len({vector.tobytes() for vector in row + 0.0})


def _dead(run: Run, first: NDArray[np.float64], last: NDArray[np.float64]) -> DeadTokens | None:
    if run.tokens is None or not len(run.tokens.dead):
        return None
    dead, live = np.flatnonzero(run.tokens.count == 0), np.flatnonzero(run.tokens.count > 0)
    moved = np.linalg.norm(last[dead] - first[dead], axis=1)
    centroids = [row[dead].mean(axis=0) for row in (first, last)]
    apart = float(np.linalg.norm(last[live].mean(axis=0) - centroids[1])) if len(live) else None
    return DeadTokens(
        count=len(dead),
        distinct=(_distinct(first[dead]), _distinct(last[dead])),
        moved=(float(moved.min()), float(moved.mean()), float(moved.max())),
        from_live=apart,
        from_origin=_change(centroids, np.linalg.norm),
    )


def _loss(run: Run) -> Change | None:
    if "loss" not in run.frame.scalars:
        return None
    losses = np.asarray(run["loss"][:], np.float64)
    # A state before any update has none: NaN.
    known = losses[~np.isnan(losses)]
    return Change(float(known[0]), float(known[-1])) if len(known) else None
