"""One token's story: what each step asked of it, and what came of that."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.auditing.settings import OptimizerSettings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """A token's updates, taken apart. All of it is float64, in embedding units.

    Attributes:
        run_path: the run.
        array: which matrix.
        token: id.
        label: what the token is called.
        settings: of the optimizer.
        dtype: in which the model has the matrix.
        steps: ``(update,)`` int64 global steps whose step before was recorded too.
        weights: ``(update, dim)`` before each step.
        gradient: ``(update, dim)`` what the step's gradient asked for.
        momentum: ``(update, dim)`` what earlier gradients asked for.
        decay: ``(update, dim)`` what the weight decay asked for.
        realised: ``(update, dim)`` by how much the vector changed.
        half_gap: ``(update, dim)`` half the distance to the next number of the dtype, on the side attempted.
        common: ``(update, dim)`` mean of what was attempted over all recorded tokens.
        by_input: ``(update, dim)`` of a tied matrix, the gradient that came by looking the token up; None
            where it is not recorded.
        by_output: ``(update, dim)`` likewise the one that came by the head.
    """

    run_path: str
    array: str
    token: int
    label: str
    settings: OptimizerSettings
    dtype: str
    steps: NDArray[np.int64]
    weights: Floats
    gradient: Floats
    momentum: Floats
    decay: Floats
    realised: Floats
    half_gap: Floats
    common: Floats
    by_input: Floats | None = None
    by_output: Floats | None = None

    @property
    def attempted(self) -> Floats:
        """``(update, dim)`` the update without rounding: gradient, momentum and decay together."""
        return self.gradient + self.momentum + self.decay

    @property
    def lost(self) -> Floats:
        """``(update, dim)`` what rounding added: realised less attempted."""
        return self.realised - self.attempted

    @property
    def own(self) -> Floats:
        """``(update, dim)`` what was attempted beyond the part that all tokens have in common."""
        return self.attempted - self.common

    @property
    def radial(self) -> Floats:
        """``(update,)`` the attempted update along the vector; positive where it grows."""
        length = np.linalg.norm(self.weights, axis=1)
        along = (self.attempted * self.weights).sum(axis=1)
        found: Floats = np.divide(along, length, out=np.zeros_like(length), where=length > 0)
        return found

    @property
    def tangential(self) -> Floats:
        """``(update,)`` length of the attempted update across the vector."""
        whole = np.square(self.attempted).sum(axis=1)
        found: Floats = np.sqrt(np.maximum(whole - np.square(self.radial), 0))
        return found

    @property
    def stagnant(self) -> Floats:
        """``(update,)`` share of the elements whose attempt is under half the gap to the next number."""
        found: Floats = np.mean(np.abs(self.attempted) < self.half_gap, axis=1)
        return found

    @property
    def reach(self) -> Floats:
        """``(update,)`` the largest attempt of any element, in half gaps; under 1 the token cannot move."""
        found: Floats = (np.abs(self.attempted) / self.half_gap).max(axis=1)
        return found

    @property
    def last_moved(self) -> int | None:
        """The last step that changed the vector; None if none did."""
        rows = np.flatnonzero(np.abs(self.realised).max(axis=1))
        return int(self.steps[rows[-1]]) if len(rows) else None

    @property
    def stuck_from(self) -> int | None:
        """The step from which on no attempt reaches half a gap; None where the last one still does."""
        rows = np.flatnonzero(self.reach >= 1)
        row = int(rows[-1]) + 1 if len(rows) else 0
        return int(self.steps[row]) if row < len(self.steps) else None

    @property
    def margin(self) -> float | None:
        """The largest reach from :attr:`stuck_from` on, so how near it still came to moving; None without."""
        start = self.stuck_from
        return None if start is None else float(self.reach[self.steps >= start].max())

    def to_json(self) -> dict[str, Any]:
        """The story in numbers, as JSON's values: lengths of the parts at every step."""

        def lengths(of: Floats) -> list[float]:
            return [float(length) for length in np.linalg.norm(of, axis=1)]

        return {
            "run": self.run_path,
            "array": self.array,
            "token": self.token,
            "label": self.label,
            "dtype": self.dtype,
            "last_moved": self.last_moved,
            "stuck_from": self.stuck_from,
            "margin": self.margin,
            "steps": self.steps.tolist(),
            **{name: lengths(getattr(self, name)) for name in PARTS},
            **{name: lengths(of) for name in PATHS if (of := getattr(self, name)) is not None},
            "radial": self.radial.tolist(),
            "tangential": self.tangential.tolist(),
            "stagnant": self.stagnant.tolist(),
            "reach": [float(value) if np.isfinite(value) else None for value in self.reach],
        }


PATHS = ("by_input", "by_output")
PARTS = ("attempted", "gradient", "momentum", "decay", "common", "own", "realised", "lost")
