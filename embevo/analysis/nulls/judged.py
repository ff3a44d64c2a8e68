"""judged_surrogates(): how often the verdicts support, or refute, a prediction by chance alone."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from embevo.analysis.measurement import Measurement, outline_of
from embevo.analysis.nulls.kinds import Kind, surrogates_of
from embevo.analysis.nulls.measuring import bare, measured
from embevo.analysis.nulls.surrogates import check_seed, drawing
from embevo.analysis.nulls.trajectory import Trajectory
from embevo.analysis.reading import matrix_of
from embevo.analysis.series import build_series
from embevo.analysis.stretches import jobs_of, single_threaded
from embevo.analysis.summary import summarize
from embevo.analysis.verdicts.applicability import applicability, check_judgeable
from embevo.analysis.verdicts.judge import judge
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.analysis.verdicts.verdict import Outcome, Verdict
from embevo.errors import ArgumentError
from embevo.run.paths import PathLike
from embevo.run.reading.reader import Run, open_run

# What no verdict asks for, of what is measured always.
_UNNEEDED: Final = ("coherence", "diffusion", "principal_components", "spectrum", "token_norm", "ulps")


@dataclass(frozen=True)
class Chances:
    """What becomes of the predictions where all is chance.

    Attributes:
        kind: of the surrogates.
        seed: of the surrogates.
        count: how many were judged.
        predictions: what was foreseen, in short, by N1..N4 or S1..S5.
        outcomes: how many surrogates support a prediction, refute it, or leave it undecided, likewise.
    """

    kind: str
    seed: int
    count: int
    predictions: Mapping[str, str]
    outcomes: Mapping[str, Mapping[Outcome, int]]

    def share(self, prediction: str, outcome: Outcome) -> float:
        """Of all surrogates, those with an outcome."""
        return self.outcomes[prediction].get(outcome, 0) / self.count

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return dataclasses.asdict(self)


def judged_surrogates(
    run: Run | PathLike,
    kind: Kind,
    count: int,
    seed: int = 0,
    *,
    thresholds: Thresholds | None = None,
    optimizer: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Chances:
    """Judge surrogates of a run in memory, one after the other, as ``--judge`` would; nothing is written.

    Args:
        run: the run, or where it lies.
        kind: as for :func:`surrogates`.
        count: how many surrogates.
        seed: likewise.
        thresholds: what verdicts are decided by.
        optimizer: as for :func:`surrogates`.
        jobs: how many are measured at once; by default as many as there are cores. What is found does not
            depend on it.
        on_rows: called after each surrogate with how many are done, of how many.

    Raises:
        ArgumentError: there is no such kind, or a count is less than 1.
        AnalysisError: the run does not hold what the kind needs, or its predictions are not about it.
    """
    if count < 1:
        raise ArgumentError(f"count={count}: how many surrogates to judge is at least 1")
    check_seed(seed)
    threads = jobs_of(jobs)
    opened = run if isinstance(run, Run) else open_run(run)
    of = Trajectory(opened, matrix_of(opened, None))
    subset = opened.frame.tokens
    check_judgeable(of.name, 0 if subset is None else subset.vocabulary - len(subset))
    makes = surrogates_of(of, kind, optimizer)
    outline = dataclasses.replace(bare(outline_of(opened, of.name, measures=())), without=_UNNEEDED)
    limits = thresholds or Thresholds()

    def one(index: int) -> list[Verdict]:
        with np.errstate(invalid="ignore", over="ignore"):
            return _verdicts(opened, measured(outline, of, makes, drawing(seed, index)), of.name, limits)

    counts: dict[str, Counter[Outcome]] = {}
    predictions: dict[str, str] = {}
    with single_threaded(), ThreadPoolExecutor(threads, "embevo-null") as pool:
        for index, verdicts in enumerate(pool.map(one, range(count))):
            for verdict in verdicts:
                counts.setdefault(verdict.id, Counter())[verdict.outcome] += 1
                predictions[verdict.id] = verdict.prediction
            if on_rows is not None:
                on_rows(index + 1, count)
    return Chances(kind, seed, count, predictions, {name: dict(found) for name, found in counts.items()})


def _verdicts(run: Run, found: Measurement, matrix: str, limits: Thresholds) -> list[Verdict]:
    series = build_series(found, matrix)
    applies = applicability(run.attributes, matrix, series, judge=True)
    summary = {**summarize(found, series), "initialisation": applies.initialisation}
    return judge(applies.initialisation, series, summary, limits)
