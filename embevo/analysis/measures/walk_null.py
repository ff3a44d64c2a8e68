"""Recorded walks beside random ones of the same steps, over the whole run and over pieces of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import pays
from embevo.analysis.measures.bands import Band, bands
from embevo.analysis.measures.measure import unheard
from embevo.analysis.measures.normals import Normals, Reader
from embevo.analysis.measures.pieces import Piece
from embevo.analysis.measures.random_directions import Directions, Drawn, drawn
from embevo.analysis.measures.walking import STATISTICS, statistics_of_each, walk_statistics
from embevo.analysis.measures.workers import Workers

# So many make the 95 % quantile of the largest deviation the 190th of 200 numbers, were the recorded one one.
CASES: Final = 199


def against_random_walks(
    paths: NDArray[np.floating[Any]], memory: float, pieces: Sequence[Piece], seed: int = 0
) -> dict[str, dict[str, Band]]:
    """The statistics of walks, in the mean over walks, with what they are of random walks.

    Whatever the walks have in common, their mean scatters no more than one of them does: the band is that of
    single random walks, each of which takes the steps of one of these.

    Args:
        paths: ``(row, walk, dim)`` places.
        memory: autocorrelation that momentum makes of independent gradients, from row to row.
        pieces: which rows.
        seed: of the simulation.

    Returns:
        By name of the piece, and of the statistic.
    """
    with Workers(1) as workers:
        return each_against_random_walks({"": paths}, memory, pieces, workers, seed)[""]


def each_against_random_walks(
    paths: Mapping[str, NDArray[np.floating[Any]]],
    memory: float,
    pieces: Sequence[Piece],
    workers: Workers,
    seed: int = 0,
    *,
    on_steps: Callable[[int, int], None] = unheard,
) -> dict[str, dict[str, dict[str, Band]]]:
    """:func:`against_random_walks` of several, by name: the same numbers in less time.

    All draw the same random numbers, which is what takes longest: they are drawn once, by this thread, while
    others make walks of them.
    """
    compiled = pays(CASES * len(pieces), max((path[:, 0].size for path in paths.values()), default=0))
    normals = Normals(seed, compiled=compiled)
    compared = {
        name: _Compared(path, memory, pieces, normals.reader(), compiled=compiled)
        for name, path in paths.items()
    }
    drawing = [(one, one.draw(workers)) for one in compared.values()]
    done, steps = 0, sum(one.steps for one in compared.values())
    on_steps(done, steps)
    while drawing:
        # Whose turn it is has drawn least, so that few numbers have to be kept for others.
        turn = min(drawing, key=lambda one: one[0].reader.position)
        drawn_steps = next(turn[1], None)
        if drawn_steps is None:
            drawing.remove(turn)
        else:
            done += drawn_steps
            on_steps(done, steps)
    return {name: one.bands() for name, one in compared.items()}


class _Compared:
    """Walks, and random ones that are simulated in turn."""

    def __init__(
        self,
        paths: NDArray[np.floating[Any]],
        memory: float,
        pieces: Sequence[Piece],
        reader: Reader,
        *,
        compiled: bool,
    ) -> None:
        self.reader = reader
        self._compiled = compiled
        self._moved = np.diff(paths.astype(np.float64), axis=0)
        self._memory = memory
        self._pieces = pieces
        # Of each walk that is imitated, of each piece.
        self._simulated: list[list[list[Future[NDArray[np.float64]]]]] = []

    @property
    def steps(self) -> int:
        """How many steps are drawn in all."""
        return sum(cases for _, cases in self._imitated()) * sum(piece.intervals for piece in self._pieces)

    def _imitated(self) -> Iterator[tuple[NDArray[np.float64], int]]:
        """``(step, dim)`` displacements of each walk that can be imitated, and how often it is."""
        count = self._moved.shape[1]
        for walk in range(min(count, CASES)):
            moved = self._moved[:, walk]
            lengths = np.sqrt(np.einsum("sd,sd->s", moved, moved))
            if np.isfinite(lengths).all() and lengths.any():
                yield moved, len(range(walk, CASES, count))

    def draw(self, workers: Workers) -> Iterator[int]:
        """Draw some walks at a time, which others measure, and give how many steps they have."""
        for moved, cases in self._imitated():
            self._simulated.append([])
            for piece in self._pieces:
                of_piece: list[Future[NDArray[np.float64]]] = []
                self._simulated[-1].append(of_piece)
                rows = moved[piece.first : piece.last]
                steps = np.linalg.norm(rows, axis=1)
                directions = Directions.of(rows, self._memory)
                batches = drawn(len(rows), directions, cases, self.reader.draw, compiled=self._compiled)
                for some in batches:
                    of_piece.append(workers.submit(partial(_statistics, some, steps)))
                    yield len(some.fresh) * len(rows)
        self.reader.close()

    def bands(self) -> dict[str, dict[str, Band]]:
        """By name of the piece, and of the statistic."""
        moved, pieces = self._moved, self._pieces
        lengths = np.sqrt(np.einsum("swd,swd->sw", moved, moved))
        values = np.array(
            [
                np.concatenate([_recorded(moved[:, walk], lengths[:, walk], piece) for piece in pieces])
                for walk in range(moved.shape[1])
            ]
        )
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
        null = [
            np.concatenate([np.concatenate([some.result() for some in of]) for of in walk], axis=1)
            for walk in self._simulated
        ]
        simulated = np.concatenate(null) if null else np.zeros((0, len(mean)))
        named = iter(bands(mean, simulated))
        return {piece.name: {name: next(named) for name in STATISTICS} for piece in pieces}


def _recorded(moved: NDArray[np.float64], lengths: NDArray[np.float64], piece: Piece) -> NDArray[np.float64]:
    """``(statistic,)``."""
    rows = slice(piece.first, piece.last)
    return np.asarray(walk_statistics(moved[None, rows], lengths[rows])[0], np.float64)


def _statistics(some: Drawn, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(case, statistic)`` of random walks."""
    return statistics_of_each(some.each(lengths), lengths, compiled=some.compiled)
