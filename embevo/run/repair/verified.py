"""What verifying a run has found."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: path below the run directory.
        what: what is wrong with it.
        steps: the steps concerned, for people; empty if it concerns none in particular.
        block: number of the block; None if it concerns none in particular.
    """

    file: str
    what: str
    steps: str = ""
    block: int | None = None


@dataclass
class Verification:
    """What :func:`verify` has found.

    Attributes:
        path: the run.
        steps: ``(step,)`` int64 steps that can be read, sealed or in the journal.
        expected: number of steps that the configuration asks for; None if it says nothing.
        missing: steps that should be there and are not, by the configuration or by the usual stride, as
            ``[first, last, stride]``.
        tail_rows: rows that are in the journal only.
        checked_files: files whose checksums were compared.
        compared_steps: steps whose Zarr rows and captured bits were compared.
        problems: everything that is wrong.
        notes: what is worth knowing and not wrong.
    """

    path: Path
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    expected: int | None = None
    missing: list[list[int]] = field(default_factory=list)
    tail_rows: int = 0
    checked_files: int = 0
    compared_steps: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
