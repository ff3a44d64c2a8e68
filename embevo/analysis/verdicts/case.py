"""One run before the judge: what a prediction can ask of it, with intervals."""

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
from embevo.analysis.measures.growth import half_growth_share
from embevo.analysis.measures.interval import (
    delete_one_interval,
    jackknife_interval,
    median_interval,
)
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.analysis.verdicts.verdict import Check

INFINITY: Final = math.inf
# The smallest positive number: a region from here on is "more than nothing".
POSITIVE: Final = 5e-324
JACKKNIFE: Final = "95 %, jackknife over ten stretches of the run"
TOKENS: Final = "95 %, order statistics of the tokens"
ONES: Final = "95 %, jackknife over tokens"
HALF_GROWTH: Final = "share of the run until half of the growth"
TENTHS: Final = "95 %, jackknife over ten tenths of the tokens"


@dataclass(frozen=True)
class Estimate:
    """A statistic, the ends of its 95 % interval, and how that was found: empty where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    by: str = ""

    @classmethod
    def of(cls, value: float, interval: tuple[float, float], by: str) -> "Estimate":
        """Fewer tokens than an interval takes leave the value alone."""
        return cls(value) if math.isnan(interval[0]) else cls(value, *interval, by)

    def within(self, region: tuple[float, float], statistic: str, reason: str, needs: str) -> Check:
        """The check of whether the estimate lies in a region."""
        return Check(statistic, self.value, region, reason, self.low, self.high, self.by, needs)


@dataclass(frozen=True)
class Case:
    """One run before the judge."""

    series: xr.Dataset
    summary: Mapping[str, Any]
    thresholds: Thresholds

    def of(self, name: str, group: GroupName = "all") -> NDArray[np.float64]:
        """``(step,)`` series of a group."""
        return np.asarray(self.series[name].to_numpy()[:, GROUPS.index(group)], np.float64)

    def of_radius(
        self, statistic: Callable[[NDArray[np.float64]], float], group: GroupName = "all"
    ) -> Estimate:
        """A statistic of a group's RMS radius ``(step,)``, with its interval over the group's tokens."""
        value = statistic(self.of("radius_rms", group))
        without = self.series["radius_rms_without"].to_numpy()[:, GROUPS.index(group)]
        interval = jackknife_interval(value, [statistic(radius) for radius in without.T])
        return Estimate.of(value, interval, TENTHS)

    @property
    def half_growth(self) -> Estimate:
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
        """Why a threshold is what it is."""
        return self.thresholds.reasons()[name]


def brownian(case: Case, what: str, group: GroupName, needs: str) -> Check:
    """Whether the exponent of a group's mean squared displacement is that of a Brownian walk."""
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
        JACKKNIFE,
        needs,
    )


def distance_from_one(check: Check) -> str:
    """How far the exponent of a check is from a Brownian walk's, in words."""
    return "" if math.isnan(check.value) else f"{check.value - 1:+.3g} from Brownian"


def half_by(case: Case) -> str:
    """When half of the growth had happened: the share of the run depends on how long one trains."""
    steps = case.series["step"].to_numpy()
    share = half_growth_share(steps, case.of("radius_rms"))
    return (
        "" if math.isnan(share) else f", half of it by step {steps[0] + share * (steps[-1] - steps[0]):,.0f}"
    )


def median(values: NDArray[np.float64]) -> Estimate:
    """Over tokens; those that move as one are no sample, and have no interval."""
    if len(values) > 1 and (values == values[0]).all():
        return Estimate(float(values[0]))
    low, high, _ = median_interval(values)
    return Estimate(float(np.median(values)), low, high, TOKENS)


def against_live(case: Case) -> str:
    """How the dead tokens' way compares with the live ones', in words; empty where there are no live ones."""
    if case.has("live"):
        return ""
    dead, live = (float(np.median(case.tokens("net_displacement", group))) for group in ("dead", "live"))
    ratio = f", {dead / live:.3g} of what live tokens did" if live > 0 else ""
    return f"dead tokens moved by {dead:.3g}{ratio} (medians)"


def radius_ratio(first: NDArray[np.float64], last: NDArray[np.float64]) -> Estimate:
    """RMS of the last radii over that of the first.

    The radius is itself a root mean square over tokens: leaving one out needs no more than their own radii.
    """
    before, after = first**2, last**2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.sqrt(after.sum() / before.sum()))
        without = np.sqrt((after.sum() - after) / (before.sum() - before))
    return Estimate.of(ratio, delete_one_interval(ratio, without), ONES)
