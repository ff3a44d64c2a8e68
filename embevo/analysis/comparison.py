"""compare(): several runs together. Runs that differ in their seed alone are a group; groups are compared."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, Final

from embevo.analysis.analyze import Analysis
from embevo.analysis.json_numbers import number_of, to_plain
from embevo.analysis.measures.effect import Effect
from embevo.analysis.measures.interval import median_interval
from embevo.analysis.measures.registry import label_of, last_of, told_by_group
from embevo.analysis.verdicts.verdict import Check, Verdict
from embevo.run.format.settings import EXPERIMENT, setting_apart

# Attributes that say how a run was carried out, or that are compared by themselves.
_APART: Final = frozenset(("config", "corpus", "versions", "environment", "vocabulary", EXPERIMENT))
# A longer value of a setting is cut short in the label of a group.
_LONGEST_VALUE: Final = 40
FEWEST_RUNS: Final = 5


@dataclass(frozen=True)
class Quantity:
    """One number of each run of a group.

    Attributes:
        name: what it is, in words.
        values: one for each run that has it.
        median: median of the values.
        low: lower end of an interval for the median.
        high: upper end.
        coverage: probability with which such an interval covers the median of all such runs.
    """

    name: str
    values: tuple[float, ...]
    median: float
    low: float
    high: float
    coverage: float

    @classmethod
    def of(cls, name: str, values: Sequence[float]) -> "Quantity":
        """Summarize values; those that are NaN are left out."""
        known = tuple(value for value in values if not math.isnan(value))
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
    """

    groups: tuple[Group, ...]
    effects: tuple[Effect, ...]

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
        }


def compare(analyses: Sequence[Analysis]) -> Comparison:
    """Group runs by what their attributes say, the configuration first, without the seed; compare the groups.

    Each part of a verdict on a group is what all of its runs decide; where they do not agree, and with fewer
    than five runs, it is undecided. Its value is the median over runs, with the interval of
    :func:`~embevo.analysis.measures.interval.median_interval`, for which runs of other seeds are a sample.
    """
    members: dict[str, list[Analysis]] = {}
    for analysis in analyses:
        members.setdefault(_identity(analysis), []).append(analysis)
    labels = _labels([group[0] for group in members.values()])
    # What was measured of one run may not apply to another.
    names = list(dict.fromkeys(name for analysis in analyses for name in quantities_of(analysis)))
    groups = tuple(_group(label, group, names) for label, group in zip(labels, members.values(), strict=True))
    effects = tuple(
        Effect.of(one.label, other.label, first.name, first.values, second.values)
        for one, other in combinations(groups, 2)
        for first, second in zip(one.quantities, other.quantities, strict=True)
    )
    return Comparison(groups, effects)


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
    quantities = tuple(Quantity.of(name, [of.get(name, math.nan) for of in numbers]) for name in names)
    verdicts: list[Verdict] = []
    outcomes: dict[str, dict[str, int]] = {}
    for alike in zip(*(analysis.verdicts for analysis in analyses), strict=True):
        verdicts.append(_together(alike))
        found = [verdict.outcome for verdict in alike]
        outcomes[alike[0].id] = {outcome: found.count(outcome) for outcome in dict.fromkeys(sorted(found))}
    return Group(label, tuple(a.run_path for a in analyses), quantities, tuple(verdicts), outcomes)


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict of those on the same prediction."""
    first = verdicts[0]
    parts = list(zip(*(verdict.checks for verdict in verdicts), strict=True))
    together = Verdict(first.id, first.hypothesis, first.prediction, tuple(map(_check, parts)))
    deciding = parts[together.checks.index(together.deciding)]
    return replace(together, effect=_margin(deciding[0].region, [check.value for check in deciding]))


def _margin(region: tuple[float, float], values: Sequence[float]) -> str:
    """How far runs lie from the nearest limit, in units of their scatter: Cohen's d of one group."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2 or (spread := stdev(known)) == 0:
        return ""
    mean = fmean(known)
    limit = min((end for end in region if math.isfinite(end)), key=lambda end: abs(mean - end))
    where = "above" if mean > limit else "below"
    return f"the mean over runs is {abs(mean - limit) / spread:.3g} standard deviations {where} {limit:.3g}"


def _check(alike: Sequence[Check]) -> Check:
    first = alike[0]
    needs = next((check.needs for check in alike if check.needs), "")
    found = Quantity.of(first.statistic, [check.value for check in alike])
    if not needs and len(found.values) < FEWEST_RUNS:
        needs = f"{len(found.values)} runs; {FEWEST_RUNS} are needed"
    outcomes = {check.outcome for check in alike}
    how = f"over {len(found.values)} runs, covers the median in {100 * found.coverage:.0f} % of cases"
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
    )


def _identity(analysis: Analysis) -> str:
    """A text that is equal for runs of one group and differs between groups."""
    settings = _settings(analysis)
    if analysis.is_experiment:
        # A switch that is off is as good as one that a run from before it does not have.
        settings = {name: value for name, value in settings.items() if value is not False}
    what = [analysis.summary[name] for name in ("initialisation", "dtype", "tokens", "dim", "matrix")]
    return repr((sorted(settings.items()), analysis.corpus.get("sha256"), what))


def _settings(analysis: Analysis) -> dict[str, Any]:
    """What the attributes of a run say, nested ones as ``outer.inner``, those of ``config`` as ``inner``.

    Settings that decide how a run is carried out or kept, and not what it computes, are not among them.
    """
    rest = {name: value for name, value in analysis.attributes.items() if name not in _APART}
    flat = dict(_flat(analysis.config))
    # A name that is in both places is two settings.
    flat |= {f"attributes.{name}" if name in flat else name: value for name, value in _flat(rest)}
    meanings = {name: analysis.meanings.get(name.rpartition(".")[2], "numbers") for name in flat}
    return setting_apart(flat, meanings)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _labels(firsts: Sequence[Analysis]) -> list[str]:
    """What sets each group apart from the others."""
    described = [
        _settings(first)
        | {"initialisation": first.summary["initialisation"], "matrix": first.summary["matrix"]}
        | {"corpus": first.corpus.get("name", first.config.get("corpus"))}
        for first in firsts
    ]
    names = dict.fromkeys(name for fields in described for name in fields)
    differing = [name for name in names if len({repr(fields.get(name)) for fields in described}) > 1]
    by_settings = [name for name in differing if name != "initialisation"]
    # What settings say already is not said twice.
    if len({_described(fields, by_settings) for fields in described}) == len(described):
        differing = by_settings
    found = [_described(fields, differing) for fields in described]
    # Groups that differ in something else, such as their shapes, are numbered.
    return [
        label if found.count(label) == 1 else f"{label} ({found[:index].count(label) + 1})"
        for index, label in enumerate(found)
    ]


def _described(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(_setting(fields, name) for name in names) or "all"


def _setting(fields: Mapping[str, Any], name: str) -> str:
    if fields.get(name) is None:
        return f"no {name}"
    value = str(fields[name])
    return f"{name}={value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + '...'}"
