"""compare(): several runs together. Runs that differ in their seed alone are a group; groups are compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, Final

from embevo.analysis.alike import identity, labels, seed_of
from embevo.analysis.analyze import Analysis
from embevo.analysis.json_numbers import number_of, to_plain
from embevo.analysis.measures.effect import Effect
from embevo.analysis.measures.interval import median_interval
from embevo.analysis.measures.registry import label_of, last_of, told_by_group
from embevo.analysis.survival import Family, Survival, families
from embevo.analysis.verdicts.verdict import Check, Verdict, counted

FEWEST_SEEDS: Final = 5


@dataclass(frozen=True)
class Quantity:
    """One number of each seed of a group.

    Attributes:
        name: what it is, in words.
        values: one for each seed that has it; of several runs of one seed their mean.
        median: median of the values.
        low: lower end of an interval for the median.
        high: upper end.
        coverage: probability with which such an interval covers the median of all such seeds.
    """

    name: str
    values: tuple[float, ...]
    median: float
    low: float
    high: float
    coverage: float

    @classmethod
    def of(cls, name: str, values: Sequence[float], seeds: Sequence[str]) -> "Quantity":
        """Summarize values of runs of these seeds; those that are NaN are left out.

        Runs of one seed are no sample, whatever else they differ in: they count once.
        """
        each: dict[str, list[float]] = {}
        for seed, value in zip(seeds, values, strict=True):
            if not math.isnan(value):
                each.setdefault(seed, []).append(value)
        known = tuple(fmean(of) for of in each.values())
        low, high, coverage = median_interval(known)
        return cls(name, known, median(known) if known else math.nan, low, high, coverage)


@dataclass(frozen=True)
class Group:
    """Runs that share everything but their seed.

    Attributes:
        label: what sets it apart from other groups, such as ``init_dtype=bfloat16``; ``all`` if it is alone.
        runs: their directories.
        quantities: the numbers of its runs.
        verdicts: on the predictions, over all of its runs.
        outcomes: for each prediction, how many runs by themselves support, refute or leave it undecided.
    """

    label: str
    runs: tuple[Path, ...]
    quantities: tuple[Quantity, ...]
    verdicts: tuple[Verdict, ...]
    outcomes: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Comparison:
    """What several runs say together.

    Attributes:
        groups: in the order of the runs.
        effects: of every pair of groups, for every quantity.
        families: groups whose runs differ in their length, too, and what of their verdicts survives that.
    """

    groups: tuple[Group, ...]
    effects: tuple[Effect, ...]
    families: tuple[Family, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return {
            "groups": [
                {
                    "label": group.label,
                    "runs": [str(run) for run in group.runs],
                    "quantities": [to_plain(asdict(quantity)) for quantity in group.quantities],
                    "verdicts": [verdict.to_json() for verdict in group.verdicts],
                    "outcomes": to_plain(dict(group.outcomes)),
                }
                for group in self.groups
            ],
            "effects": [to_plain(asdict(effect)) for effect in self.effects],
            "survival": [
                {
                    "label": family.label,
                    "runs": [str(run) for run in family.runs],
                    "predictions": [_plain(survival) for survival in family.survivals],
                }
                for family in self.families
            ],
        }


def compare(analyses: Sequence[Analysis]) -> Comparison:
    """Group runs by what their attributes say, the configuration first, without the seed; compare the groups.

    Each part of a verdict on a group is what all of its runs decide; where they do not agree, and with fewer
    than five seeds, it is undecided. Its value is the median over runs, with the interval of
    :func:`~embevo.analysis.measures.interval.median_interval`, for which runs of other seeds are a sample.
    """
    members: dict[str, list[Analysis]] = {}
    for analysis in analyses:
        members.setdefault(identity(analysis), []).append(analysis)
    called = labels([group[0] for group in members.values()])
    # What was measured of one run may not apply to another.
    names = list(dict.fromkeys(name for analysis in analyses for name in quantities_of(analysis)))
    groups = tuple(_group(label, group, names) for label, group in zip(called, members.values(), strict=True))
    effects = tuple(
        Effect.of(one.label, other.label, first.name, first.values, second.values)
        for one, other in combinations(groups, 2)
        for first, second in zip(one.quantities, other.quantities, strict=True)
    )
    return Comparison(groups, effects, families(analyses))


def quantities_of(analysis: Analysis) -> dict[str, float]:
    """The numbers of a run that are compared, by what they are."""
    summary = analysis.summary
    values = {
        f"{label}, in the last row": last_of(summary["groups"][group], variable)
        for label, variable, group in told_by_group(summary["groups"])
    }
    values |= {label_of(name): summary[name] for name in ("live_dead_distance", "freeze_step", "loss_last")}
    values[label_of("exponents.centroid")] = summary["exponents"]["centroid"]["all"]["value"]
    return {name: number_of(value) for name, value in values.items()}


def _group(label: str, analyses: Sequence[Analysis], names: Sequence[str]) -> Group:
    numbers = [quantities_of(analysis) for analysis in analyses]
    seeds = [seed_of(analysis) for analysis in analyses]
    quantities = tuple(Quantity.of(name, [of.get(name, math.nan) for of in numbers], seeds) for name in names)
    verdicts: list[Verdict] = []
    outcomes: dict[str, dict[str, int]] = {}
    for alike in zip(*(analysis.verdicts for analysis in analyses), strict=True):
        verdicts.append(_together(alike, seeds))
        found = [verdict.outcome for verdict in alike]
        outcomes[alike[0].id] = {outcome: found.count(outcome) for outcome in dict.fromkeys(sorted(found))}
    return Group(label, tuple(a.run_path for a in analyses), quantities, tuple(verdicts), outcomes)


def _together(verdicts: Sequence[Verdict], seeds: Sequence[str]) -> Verdict:
    """One verdict of those on the same prediction."""
    first = verdicts[0]
    parts = list(zip(*(verdict.checks for verdict in verdicts), strict=True))
    checks = tuple(_check(alike, seeds) for alike in parts)
    together = Verdict(first.id, first.hypothesis, first.prediction, checks)
    deciding = parts[checks.index(together.deciding)]
    found = Quantity.of(first.id, [check.value for check in deciding], seeds)
    return replace(together, effect=_margin(deciding[0].region, found.values))


def _margin(region: tuple[float, float], known: Sequence[float]) -> str:
    """How far seeds lie from the nearest limit, in units of their scatter: Cohen's d of one group."""
    if len(known) < 2 or (spread := stdev(known)) == 0:
        return ""
    mean = fmean(known)
    limit = min((end for end in region if math.isfinite(end)), key=lambda end: abs(mean - end))
    where = "above" if mean > limit else "below"
    return f"the mean over seeds is {abs(mean - limit) / spread:.3g} standard deviations {where} {limit:.3g}"


def _check(alike: Sequence[Check], seeds: Sequence[str]) -> Check:
    first = alike[0]
    needs = next((check.needs for check in alike if check.needs), "")
    found = Quantity.of(first.statistic, [check.value for check in alike], seeds)
    if not needs and len(found.values) < FEWEST_SEEDS:
        needs = f"{len(found.values)} seed{'s' * (len(found.values) != 1)}; {FEWEST_SEEDS} are needed"
    outcomes = {check.outcome for check in alike}
    how = f"over {len(found.values)} seeds, covers the median in {100 * found.coverage:.0f} % of cases"
    return Check(
        f"median of: {first.statistic}",
        found.median,
        first.region,
        first.reason,
        low=found.low,
        high=found.high,
        interval_by=how,
        needs=needs,
        decided=outcomes.pop() if len(outcomes) == 1 else "undecided",
        each=""
        if len({check.outcome for check in alike}) == 1
        else counted(check.outcome for check in alike),
    )


def _plain(survival: Survival) -> dict[str, Any]:
    """What is derived is there for readers of the file."""
    derived = {"outcome": survival.outcome, "survives": survival.survives, "sentence": survival.sentence}
    return {
        **to_plain(asdict(survival)),
        "trials": [{**to_plain(asdict(trial)), "run": str(trial.run)} for trial in survival.trials],
        **derived,
    }
