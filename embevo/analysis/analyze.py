"""analyze(): everything that is measured of a run, and the verdicts, in one call."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from embevo.analysis.cache import FORMAT, MEASURED, fingerprint, load, save, save_rest
from embevo.analysis.code_digest import measuring_digest
from embevo.analysis.measurement import outline_of
from embevo.analysis.measures.outline import Basis, Outline
from embevo.analysis.measures.registry import chosen
from embevo.analysis.reading import matrix_of
from embevo.analysis.series import build_series
from embevo.analysis.stretches import jobs_of, measure
from embevo.analysis.summary import summarize
from embevo.analysis.verdicts.applicability import Applicability, applicability, check_judgeable
from embevo.analysis.verdicts.judge import judge as verdicts_on
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.analysis.verdicts.verdict import Verdict
from embevo.errors import AnalysisError, ArgumentError
from embevo.run.format.provenance import is_experiment
from embevo.run.format.settings import Meaning, meanings_of
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run, open_run

if TYPE_CHECKING:
    from distributed import Client

_DEFAULTS: Final = Thresholds()


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was measured of a run.

    Attributes:
        run_path: the run.
        series: every measure as a variable of an ``xarray.Dataset``; ``attrs`` of each say what it is and its
            units, :mod:`embevo.analysis.measures.registry` lists them.
        events: births, fissions, fusions, emissions, captures and deaths of black holes, in order: dicts with
            ``step``, ``kind``, ``tokens``, and the sizes ``before`` and ``after``.
        summary: the numbers that fit on a screen, as plain JSON values; null where there is none.
        verdicts: on the predictions for the run's initialisation; none if they are not about it.
        applies: whether they are, and why not.
        is_experiment: whether ``embevo train`` made the run: its loss is in nats per token of its corpus.
        thresholds: what the verdicts were decided by.
        config: what the recorder was given as configuration.
        corpus: what is known of the corpus.
        attributes: all that the recorder was given to keep with the run, those two included.
        labels: ``(token,)`` printable names of the recorded tokens: characters where the run says that its
            vocabulary is bytes, else ids.
        meanings: what each setting of the configuration decides, by name.
        note: why the analysis was not kept in the run; empty if it was.
    """

    run_path: Path
    series: xr.Dataset
    events: list[dict[str, Any]]
    summary: dict[str, Any]
    verdicts: list[Verdict]
    applies: Applicability
    is_experiment: bool
    thresholds: Thresholds
    config: dict[str, Any]
    corpus: dict[str, Any]
    attributes: dict[str, Any]
    labels: list[str]
    meanings: dict[str, Meaning] = dataclasses.field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """What is not in the series, as plain JSON values."""
        return {
            "run": str(self.run_path),
            "summary": self.summary,
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "judged": {"by": self.applies.initialisation, "statement": self.applies.statement},
            "thresholds": self.thresholds.to_json(),
            "config": self.config,
            "corpus": self.corpus,
        }


def analyze(
    run: str | Path | Run,
    thresholds: Thresholds | Mapping[str, float] = _DEFAULTS,
    *,
    matrix: str | None = None,
    judge: bool = False,
    basis: Basis = "final",
    measures: str | Sequence[str] = "default",
    exact: bool = False,
    keep: bool = True,
    jobs: int | None = None,
    client: "Client | None" = None,
    on_rows: Callable[[int, int], None] | None = None,
    on_walks: Callable[[int, int], None] | None = None,
) -> Analysis:
    """Measure a run and judge it, or take both from what an earlier call has kept in it.

    Args:
        run: the run or its directory; it may be in the middle of being recorded.
        thresholds: what verdicts are decided by; a mapping replaces some of the defaults.
        matrix: which one, of a run with several; by default ``embeddings``, or the first.
        judge: judge a run that is not the experiment's by its predictions, too.
        basis: whether the principal components are those of the last row or of all rows together.
        measures: names of those to take beside what verdicts and figures are made of: ``default``, ``all``,
            ``core`` for none, or names, in a sequence or with commas. One that does not apply to the run is
            absent. Where more was kept in the run than is asked for, all of that is found.
        exact: compare all tokens in pairs, where otherwise some stand for all if there are many.
        keep: look for, and leave behind, ``analysis.zarr`` and ``analysis.json`` in the run. A directory that
            cannot be written is no error.
        jobs: how many threads measure and simulate; by default as many as there are cores for this process.
            What is found does not depend on it.
        client: of a ``dask.distributed`` cluster, on whose workers the run is measured then. They open it by
            its path, and need this version of embevo.
        on_rows: called now and then with how many rows were measured, and how many there are.
        on_walks: called likewise when all were, with how many steps of random walks the recorded ones were
            compared with, and with how many they will be; never for a run that is too short for that.

    Raises:
        NotARunError: the path is not a run.
        AnalysisError: the run has no steps, no such matrix, or there is no such threshold; or ``judge``, and
            the matrix is not the embeddings.
        ArgumentError: ``jobs`` is less than 1, or given with a client; or there is no such measure.
        DamagedError: stored bytes are not what was written.
    """
    threads = jobs_of(jobs)
    if client is not None and jobs is not None:
        raise ArgumentError("jobs are threads here, and a client's workers measure elsewhere: give one")
    opened = run if isinstance(run, Run) else open_run(run)
    names = chosen(measures)
    limits = thresholds if isinstance(thresholds, Thresholds) else Thresholds.of(thresholds)
    if not len(opened.steps):
        raise AnalysisError(f"{opened.path} has no steps yet: there is nothing to measure")
    name = matrix_of(opened, matrix)
    subset = opened.frame.tokens
    missing = 0 if subset is None else subset.vocabulary - len(subset)
    if judge:
        check_judgeable(name, missing)
    key = {
        "format": FORMAT,
        "measures": measuring_digest(),
        "run": fingerprint(opened),
        "matrix": name,
        "basis": basis,
        "fit": [limits.msd_min_lag, limits.msd_max_share],
        "exact": exact,
        MEASURED: list(names),
    }
    paths = RunPaths(opened.path)
    kept = load(paths, key) if keep else None
    if kept is None:
        # What is not a number makes others that are none; signalling NaNs say so wherever they are copied.
        with np.errstate(invalid="ignore", over="ignore"):
            series, summary, events = _measure(
                opened,
                outline_of(
                    opened,
                    name,
                    basis=basis,
                    min_lag=limits.msd_min_lag,
                    max_share=limits.msd_max_share,
                    measures=names,
                    exact=exact,
                ),
                name,
                jobs=threads,
                client=client,
                on_rows=on_rows,
                on_walks=on_walks,
            )
    else:
        series, summary, events = kept.series, kept.rest["summary"], kept.rest["events"]
    # Judging takes no time: what is kept is always judged by the thresholds that are asked for.
    applies = applicability(opened.attributes, name, series, judge=judge, missing=missing)
    summary = {**summary, "initialisation": applies.initialisation}
    with np.errstate(invalid="ignore", over="ignore"):
        verdicts = verdicts_on(applies.initialisation, series, summary, limits)
    found = Analysis(
        run_path=opened.path,
        series=series,
        events=events,
        summary=summary,
        verdicts=verdicts,
        applies=applies,
        is_experiment=is_experiment(opened.attributes),
        thresholds=limits,
        config=opened.config,
        meanings=meanings_of(opened.attributes),
        corpus=opened.corpus,
        attributes={name: value for name, value in opened.attributes.items() if name != "embevo"},
        labels=opened.token_names.labels,
    )
    # A run may be moved, so where it lies is not kept.
    rest = {**found.to_json(), "events": events}
    del rest["run"]
    if not keep or (kept is not None and all(kept.rest.get(part) == rest[part] for part in rest)):
        return found
    try:
        if kept is None:
            save(paths, key, series, rest)
        else:
            save_rest(paths, kept.rest["key"], rest, kept.rest["files"])
    except OSError as error:
        note = f"the analysis was not kept in the run: {error.filename or paths.analysis}: {error.strerror}"
        return dataclasses.replace(found, note=note)
    return found


def _measure(
    run: Run,
    outline: Outline,
    name: str,
    *,
    jobs: int,
    client: "Client | None",
    on_rows: Callable[[int, int], None] | None,
    on_walks: Callable[[int, int], None] | None,
) -> tuple[xr.Dataset, dict[str, Any], list[dict[str, Any]]]:
    """The series, the summary and the events."""
    tell = (lambda done: on_rows(done, outline.rows)) if on_rows else None
    if client is None:
        found = measure(run, name, tell, outline, jobs, on_walks=on_walks)
    else:
        # Only who has a cluster needs its library.
        from embevo.analysis.distributed import measure_on  # noqa: PLC0415

        found = measure_on(client, run, name, tell, outline, on_walks=on_walks)
    series = build_series(found, name)
    summary = summarize(found, series)
    series.attrs |= {
        part: summary[part] for part in ("unigram_entropy", "freeze_step", "phases", "exponents")
    }
    events = [event.to_json() for event in found.events]
    for event in events:
        event["tokens"] = run.frame.token_ids[event["tokens"]].tolist()
    return series, summary, events
