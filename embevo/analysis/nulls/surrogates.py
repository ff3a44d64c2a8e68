"""surrogates(): what a run would look like by chance, as often as wanted, one after the other."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.nulls.kinds import Kind, Surrogates, surrogates_of
from embevo.analysis.nulls.trajectory import Trajectory
from embevo.analysis.reading import matrix_of
from embevo.errors import ArgumentError
from embevo.run.paths import PathLike
from embevo.run.reading.reader import Run, open_run


def surrogates(
    run: Run | PathLike,
    kind: Kind,
    count: int,
    seed: int = 0,
    *,
    matrix: str | None = None,
    optimizer: Mapping[str, Any] | None = None,
) -> Iterator[NDArray[Any]]:
    """Make surrogates of a recorded matrix in memory, each when it is asked for; nothing is written.

    Args:
        run: the run, or where it lies.
        kind: ``brownian``: each token takes its recorded step lengths in random directions;
            ``shuffled-steps``: all tokens take their recorded steps in another order; ``shuffled-tokens``:
            trajectories are dealt to other tokens; ``adamw-noise``: the run's optimizer on noise.
        count: how many.
        seed: surrogate i of a seed is the same whatever the count.
        matrix: which one; by default the embeddings, or the run's first matrix.
        optimizer: for ``adamw-noise``, settings in place of those that the run says, as for ``audit``.

    Returns:
        Arrays ``(step, token, dim)`` in the recorded dtype.

    Raises:
        ArgumentError: there is no such kind, or a number is less than it can be.
        AnalysisError: the run does not hold what the kind needs.
        MissingLibraryError: ``adamw-noise`` needs torch.
    """
    if count < 0:
        raise ArgumentError(f"count={count}: how many surrogates to make is at least 0")
    opened = run if isinstance(run, Run) else open_run(run)
    of = Trajectory(opened, matrix_of(opened, matrix))
    makes = surrogates_of(of, kind, optimizer)
    check_seed(seed)
    return (whole(of, makes, drawing(seed, index)) for index in range(count))


def check_seed(seed: int) -> None:
    """Raise ArgumentError unless this is a seed."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ArgumentError(f"seed={seed!r}: a seed is a whole number, at least 0")


def drawing(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one surrogate."""
    return np.random.default_rng((seed, index))


def whole(of: Trajectory, makes: Surrogates, drawn: np.random.Generator) -> NDArray[Any]:
    """One surrogate of a matrix, ``(step, token, dim)``."""
    values = np.empty(of.shape, of.dtype)
    row = 0
    for block in makes.blocks(drawn):
        made = block[of.name]
        values[row : row + len(made)] = made
        row += len(made)
    return values
