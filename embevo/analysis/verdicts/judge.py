"""The predictions of the experiment's notebook, each as checks against :class:`Thresholds`.

Four were made for normal initialisation (N1..N4), five for singular initialisation (S1..S5). Only those of
the run's own initialisation are judged. What a check needs and a run does not have leaves it undecided.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.json_numbers import number_of
from embevo.analysis.measures.groups import GROUPS, GroupName
from embevo.analysis.measures.growth import half_growth_share, late_change, late_row
from embevo.analysis.measures.interval import (
    delete_one_interval,
    jackknife_interval,
    median_interval,
    share_interval,
)
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.analysis.verdicts.verdict import Check, Verdict

_INFINITY: Final = math.inf
# The smallest positive number: a region from here on is "more than nothing".
_POSITIVE: Final = 5e-324
_JACKKNIFE: Final = "95 %, jackknife over ten stretches of the run"
_TOKENS: Final = "95 %, order statistics of the tokens"
_ONES: Final = "95 %, jackknife over tokens"
_HALF_GROWTH: Final = "share of the run until half of the growth"
_TENTHS: Final = "95 %, jackknife over ten tenths of the tokens"


def judge(series: xr.Dataset, summary: Mapping[str, Any], thresholds: Thresholds) -> list[Verdict]:
    """The verdicts on the predictions for the run's initialisation, in the notebook's order."""
    case = _Case(series, summary, thresholds)
    if summary["initialisation"] == "normal":
        return [
            _starts_apart(case),
            _expands_and_drifts(case),
            _centroid_walks(case),
            _dead_near_origin(case),
        ]
    return [
        _starts_as_one(case),
        _supernova(case),
        _walks_to_rest(case),
        _dead_frozen(case),
        _ends_as_hole(case),
    ]


@dataclass(frozen=True)
class _Estimate:
    """A statistic, the ends of its 95 % interval, and how that was found: empty where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    by: str = ""

    @classmethod
    def of(cls, value: float, interval: tuple[float, float], by: str) -> "_Estimate":
        """Fewer tokens than an interval takes leave the value alone."""
        return cls(value) if math.isnan(interval[0]) else cls(value, *interval, by)

    def within(self, region: tuple[float, float], statistic: str, reason: str, needs: str) -> Check:
        """Is it in a region?"""
        return Check(statistic, self.value, region, reason, self.low, self.high, self.by, needs)


@dataclass(frozen=True)
class _Case:
    """One run before the judge."""

    series: xr.Dataset
    summary: Mapping[str, Any]
    thresholds: Thresholds

    def of(self, name: str, group: GroupName = "all") -> NDArray[np.float64]:
        """``(step,)`` series of a group."""
        return np.asarray(self.series[name].to_numpy()[:, GROUPS.index(group)], np.float64)

    def of_radius(
        self, statistic: Callable[[NDArray[np.float64]], float], group: GroupName = "all"
    ) -> _Estimate:
        """A statistic of a group's RMS radius ``(step,)``, with its interval over the group's tokens."""
        value = statistic(self.of("radius_rms", group))
        without = self.series["radius_rms_without"].to_numpy()[:, GROUPS.index(group)]
        interval = jackknife_interval(value, [statistic(radius) for radius in without.T])
        return _Estimate.of(value, interval, _TENTHS)

    @property
    def half_growth(self) -> _Estimate:
        """Share of the run until half of the growth; shares end at 0 and 1, and so does the interval."""
        found = self.of_radius(partial(half_growth_share, self.series["step"].to_numpy()))
        return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0)) if found.by else found

    def tokens(self, name: str, group: GroupName) -> NDArray[np.float64]:
        """``(token,)`` values of a group's tokens."""
        count = self.series["token_count"].to_numpy()
        return np.asarray(
            self.series[name].to_numpy()[count > 0 if group == "live" else count == 0], np.float64
        )

    @property
    def begins(self) -> str:
        """What is missing for a statement about the start."""
        first = self.summary["first_step"]
        return "" if first == 0 else f"step 0 was not recorded, the first is {first}"

    @property
    def long_enough(self) -> str:
        """What is missing for a statement about the dynamics."""
        intervals, least = self.summary["rows"] - 1, self.thresholds.min_steps
        return "" if intervals >= least else f"{intervals} recorded intervals; {least:g} are needed"

    def has(self, *groups: GroupName) -> str:
        """What is missing for a statement about groups."""
        if self.summary["live"] is None:
            return "the run does not say how often tokens occur, so none is known to be dead"
        missing = [group for group in groups if not self.summary[group]]
        return f"there are no {missing[0]} tokens" if missing else ""

    def needs(self, *groups: GroupName) -> str:
        """What is missing for a statement about how groups moved."""
        return self.begins or self.long_enough or (self.has(*groups) if groups else "")

    def reason(self, name: str) -> str:
        """Of a threshold."""
        return self.thresholds.reasons()[name]


def _starts_apart(case: _Case) -> Verdict:
    count = case.of("distinct_rows")[0]
    check = Check(
        "share of tokens with a row of their own at step 0",
        count / case.summary["tokens"],
        (case.thresholds.start_distinct, 1.0),
        case.reason("start_distinct"),
        needs=case.begins,
    )
    effect = f"{count:.0f} distinct rows among {case.summary['tokens']} tokens"
    return Verdict("N1", "normal", "Token vectors start at different random locations", (check,), effect)


def _expands_and_drifts(case: _Case) -> Verdict:
    limits, needs = case.thresholds, case.needs()
    expansion = _radius_ratio(case.series["radius_first"].to_numpy(), case.series["radius_last"].to_numpy())
    low, high = (number_of(end) for end in case.summary["drift_interval"])
    drift = _Estimate.of(number_of(case.summary["drift"]), (low, high), _ONES)
    checks = (
        expansion.within(
            (limits.expansion, _INFINITY), "last RMS radius over first", case.reason("expansion"), needs
        ),
        case.half_growth.within(
            (limits.gradual_share, _INFINITY), _HALF_GROWTH, case.reason("gradual_share"), needs
        ),
        drift.within(
            (limits.drift, _INFINITY),
            "displacement of the centroid over that of independent tokens",
            case.reason("drift"),
            needs,
        ),
    )
    effect = (
        f"the cloud grew {expansion.value:.3g} times{_half_by(case)}, and its centroid moved "
        f"{case.of('centroid_displacement')[-1]:.3g}"
    )
    return Verdict("N2", "normal", "Cloud gradually expands and drifts", checks, effect)


def _centroid_walks(case: _Case) -> Verdict:
    check = _brownian(case, "centroid", "all", case.needs())
    effect = _distance_from_one(check)
    return Verdict("N3", "normal", "Centroid undergoes a random walk (Brownian)", (check,), effect)


def _dead_near_origin(case: _Case) -> Verdict:
    needs = case.needs("dead")
    reach = moved = _Estimate(math.nan)
    effect = ""
    if not case.has("dead"):
        displacement = case.tokens("net_displacement", "dead")
        moved = _median(displacement)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = _median(displacement / case.tokens("token_norm_first", "dead"))
        effect = _against_live(case)
    near = reach.within(
        (-_INFINITY, case.thresholds.dead_reach),
        "median net displacement of dead tokens over their norm at step 0",
        case.reason("dead_reach"),
        needs,
    )
    drifted = moved.within(
        (_POSITIVE, _INFINITY),
        "median net displacement of dead tokens",
        "Drifting slightly is still moving.",
        needs,
    )
    prediction = "Dead tokens drift slightly but stay near the origin"
    return Verdict("N4", "normal", prediction, (near, drifted), effect)


def _starts_as_one(case: _Case) -> Verdict:
    count = float(case.of("distinct_rows")[0])
    places = case.thresholds.start_places
    check = Check(
        "number of distinct rows at step 0",
        count,
        (places, places),
        case.reason("start_places"),
        needs=case.begins,
    )
    effect = f"{case.of('black_hole_largest')[0]:.0f} of {case.summary['tokens']} tokens at one point"
    return Verdict("S1", "singular", "All tokens start at identical location", (check,), effect)


def _supernova(case: _Case) -> Verdict:
    needs = case.needs()
    growth = case.of_radius(lambda radius: float(radius.max() - radius[0]))
    checks = (
        case.half_growth.within(
            (-_INFINITY, case.thresholds.gradual_share), _HALF_GROWTH, case.reason("gradual_share"), needs
        ),
        growth.within((_POSITIVE, _INFINITY), "growth of the RMS radius", "An expansion expands.", needs),
    )
    start = case.of("radius_rms")[0]
    effect = f"the RMS radius grew by {growth.value:.3g} from {start:.3g}{_half_by(case)}"
    return Verdict("S2", "singular", "Training causes rapid supernova expansion", checks, effect)


def _walks_to_rest(case: _Case) -> Verdict:
    needs = case.needs("live")
    limits = case.thresholds
    rate = case.series["learning_rate"].to_numpy() if "learning_rate" in case.series else None
    steps = case.series["step"].to_numpy()
    walk = _brownian(case, "tokens", "live", needs)
    change, effect = _Estimate(math.nan), _distance_from_one(walk)
    if not needs:
        row = late_row(steps, rate, limits.equilibrium_window)
        change = case.of_radius(partial(late_change, row=row), "live")
        size = f"the live radius changed by {change.value:.3g} of its size from step {steps[row]:,} on"
        effect = f"{effect}; {size}" if effect else size
    rest = change.within(
        (-_INFINITY, limits.equilibrium_change),
        "relative change of the live radius in the last part of the run",
        case.reason("equilibrium_change"),
        needs,
    )
    return Verdict("S3", "singular", "Active tokens random-walk to equilibrium", (walk, rest), effect)


def _dead_frozen(case: _Case) -> Verdict:
    needs = case.needs("dead")
    quanta, effect = _Estimate(math.nan), ""
    if not case.has("dead"):
        quanta = _median(case.tokens("net_quanta", "dead"))
        effect = _against_live(case)
    check = quanta.within(
        (-_INFINITY, case.thresholds.frozen_quanta),
        "median net displacement of dead tokens in units of rounding",
        case.reason("frozen_quanta"),
        needs,
    )
    prediction = "Dead tokens stay frozen at the initialization point, up to quantization noise"
    return Verdict("S4", "singular", prediction, (check,), effect)


def _ends_as_hole(case: _Case) -> Verdict:
    needs = case.needs("live", "dead")
    limits = case.thresholds
    low, high = (number_of(end) for end in case.summary["live_dead_distance_interval"])
    distance = number_of(case.summary["live_dead_distance"])
    apart = _Estimate.of(distance, (low, high), "95 %, delta method over tokens")
    checks = (
        _tightness(case).within(
            (-_INFINITY, limits.tight),
            "RMS radius of the dead over that of the live",
            case.reason("tight"),
            needs,
        ),
        (_overlap(case) if not needs else _Estimate(math.nan)).within(
            (limits.hole_overlap, _INFINITY),
            "Jaccard index of the tokens in black holes and the dead",
            case.reason("hole_overlap"),
            needs,
        ),
        apart.within(
            (limits.separation_low, limits.separation_high),
            "distance between live and dead centroids",
            case.reason("separation_low"),
            needs,
        ),
    )
    live = case.of("radius_rms", "live")[-1]
    effect = "" if needs else f"the distance is {distance / live:.3g} times the live radius"
    prediction = "Final structure: tight black hole cluster and a dispersed cloud 0.2 to 0.4 units away"
    return Verdict("S5", "singular", prediction, checks, effect)


def _dead_are_one(case: _Case) -> bool:
    """Whether the dead end as one vector: then they are one of a kind, and no sample of anything."""
    return bool(case.of("distinct_rows", "dead")[-1] == 1)


def _tightness(case: _Case) -> _Estimate:
    """Last RMS radius of the dead over that of the live, a tenth of each being left out at a time."""
    without = case.series["radius_rms_without"].to_numpy()[-1]
    live, dead = GROUPS.index("live"), GROUPS.index("dead")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(case.of("radius_rms", "dead")[-1] / case.of("radius_rms", "live")[-1])
        interval = jackknife_interval(ratio, without[dead] / without[live])
    return _Estimate(ratio) if _dead_are_one(case) else _Estimate.of(ratio, interval, _TENTHS)


def _overlap(case: _Case) -> _Estimate:
    """Jaccard index: the share of those that are in a black hole or dead which are both."""
    inside = case.series["black_hole"].to_numpy() >= 0
    dead = case.series["token_count"].to_numpy() == 0
    index = number_of(case.summary["jaccard_all"])
    if _dead_are_one(case):
        return _Estimate(index)
    interval = share_interval(int((inside & dead).sum()), int((inside | dead).sum()))
    return _Estimate.of(index, interval, "95 %, score interval over the tokens that are either")


def _brownian(case: _Case, what: str, group: GroupName, needs: str) -> Check:
    fit = case.summary["exponents"][what][group]
    value, low, high = (number_of(fit[name]) for name in ("value", "low", "high"))
    if not needs and math.isnan(value):
        needs = "too few lags, or no motion, to fit an exponent"
    whose = "the centroid" if what == "centroid" else f"{group} tokens"
    region = (case.thresholds.brownian_low, case.thresholds.brownian_high)
    return Check(
        f"exponent of the mean squared displacement of {whose}",
        value,
        region,
        case.reason("brownian_low"),
        low,
        high,
        _JACKKNIFE,
        needs,
    )


def _distance_from_one(check: Check) -> str:
    return "" if math.isnan(check.value) else f"{check.value - 1:+.3g} from Brownian"


def _half_by(case: _Case) -> str:
    """When half of the growth had happened: the share of the run depends on how long one trains."""
    steps = case.series["step"].to_numpy()
    share = half_growth_share(steps, case.of("radius_rms"))
    return (
        "" if math.isnan(share) else f", half of it by step {steps[0] + share * (steps[-1] - steps[0]):,.0f}"
    )


def _median(values: NDArray[np.float64]) -> _Estimate:
    """Over tokens; those that move as one are no sample, and have no interval."""
    if len(values) > 1 and (values == values[0]).all():
        return _Estimate(float(values[0]))
    low, high, _ = median_interval(values)
    return _Estimate(float(np.median(values)), low, high, _TOKENS)


def _against_live(case: _Case) -> str:
    if case.has("live"):
        return ""
    dead, live = (float(np.median(case.tokens("net_displacement", group))) for group in ("dead", "live"))
    ratio = f", {dead / live:.3g} of what live tokens did" if live > 0 else ""
    return f"dead tokens moved by {dead:.3g}{ratio} (medians)"


def _radius_ratio(first: NDArray[np.float64], last: NDArray[np.float64]) -> _Estimate:
    """RMS of the last radii over that of the first.

    The radius is itself a root mean square over tokens: leaving one out needs no more than their own radii.
    """
    before, after = first**2, last**2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.sqrt(after.sum() / before.sum()))
        without = np.sqrt((after.sum() - after) / (before.sum() - before))
    return _Estimate.of(ratio, delete_one_interval(ratio, without), _ONES)
