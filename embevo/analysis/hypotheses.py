"""The predictions of the experiment's notebook, each as checks against :class:`Thresholds`.

Four were made for normal initialisation (N1..N4), five for singular initialisation (S1..S5). Only those of
the run's own initialisation are judged. What a check needs and a run does not have leaves it undecided.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.groups import GROUPS, GroupName
from embevo.analysis.growth import half_growth_share, late_change
from embevo.analysis.interval import median_interval
from embevo.analysis.plain import number_of
from embevo.analysis.thresholds import Thresholds
from embevo.analysis.verdict import Check, Verdict

_INFINITY: Final = math.inf
# The smallest positive number: a region from here on is "more than nothing".
_POSITIVE: Final = 5e-324
_JACKKNIFE: Final = "95 %, jackknife over ten stretches of the run"
_TOKENS: Final = "95 %, order statistics of the tokens"


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
class _Case:
    """One run before the judge."""

    series: xr.Dataset
    summary: Mapping[str, Any]
    thresholds: Thresholds

    def of(self, name: str, group: GroupName = "all") -> NDArray[np.float64]:
        """``(step,)`` series of a group."""
        return np.asarray(self.series[name].to_numpy()[:, GROUPS.index(group)], np.float64)

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
        (case.thresholds.start_distinct, _INFINITY),
        case.reason("start_distinct"),
        needs=case.begins,
    )
    effect = f"{count:.0f} distinct rows among {case.summary['tokens']} tokens"
    return Verdict("N1", "normal", "Token vectors start at different random locations", (check,), effect)


def _expands_and_drifts(case: _Case) -> Verdict:
    radius, limits = case.of("radius_rms"), case.thresholds
    # The radius is itself a root mean square over tokens: its jackknife needs no more than their own radii.
    ratio, low, high = _radius_ratio(
        case.series["radius_first"].to_numpy(), case.series["radius_last"].to_numpy()
    )
    moved = case.series["net_displacement"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.sqrt((moved**2).mean() / len(moved))
        drift = float(case.of("centroid_displacement")[-1] / alone)
    checks = (
        Check(
            "last RMS radius over first",
            ratio,
            (limits.expansion, _INFINITY),
            case.reason("expansion"),
            low,
            high,
            "95 %, jackknife over tokens",
            case.needs(),
        ),
        Check(
            "share of the run until half of the growth",
            half_growth_share(case.series["step"].to_numpy(), radius),
            (limits.gradual_share, _INFINITY),
            case.reason("gradual_share"),
            needs=case.needs(),
        ),
        Check(
            "displacement of the centroid over that of independent tokens",
            drift,
            (limits.drift, _INFINITY),
            case.reason("drift"),
            needs=case.needs(),
        ),
    )
    effect = (
        f"the cloud grew {ratio:.3g} times{_half_by(case)}, and its centroid moved "
        f"{case.of('centroid_displacement')[-1]:.3g}"
    )
    return Verdict("N2", "normal", "Cloud gradually expands and drifts", checks, effect)


def _centroid_walks(case: _Case) -> Verdict:
    check = _brownian(case, "centroid", "all", case.needs())
    effect = _distance_from_one(check)
    return Verdict("N3", "normal", "Centroid undergoes a random walk (Brownian)", (check,), effect)


def _dead_near_origin(case: _Case) -> Verdict:
    needs = case.needs("dead")
    value = low = high = moved = math.nan
    by = effect = ""
    if not case.has("dead"):
        moved = float(np.median(case.tokens("net_displacement", "dead")))
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = case.tokens("net_displacement", "dead") / case.tokens("token_norm_first", "dead")
        value, low, high, by = _median(reach)
        effect = _against_live(case)
    near = Check(
        "median net displacement of dead tokens over their norm at step 0",
        value,
        (-_INFINITY, case.thresholds.dead_reach),
        case.reason("dead_reach"),
        low,
        high,
        by,
        needs,
    )
    drifted = Check(
        "median net displacement of dead tokens",
        moved,
        (_POSITIVE, _INFINITY),
        "Drifting slightly is still moving.",
        needs=needs,
    )
    prediction = "Dead tokens drift slightly but stay near the origin"
    return Verdict("N4", "normal", prediction, (near, drifted), effect)


def _starts_as_one(case: _Case) -> Verdict:
    count = float(case.of("distinct_rows")[0])
    places = case.thresholds.start_places
    check = Check(
        "distinct rows at step 0", count, (places, places), case.reason("start_places"), needs=case.begins
    )
    effect = f"{case.of('black_hole_largest')[0]:.0f} of {case.summary['tokens']} tokens at one point"
    return Verdict("S1", "singular", "All tokens start at identical location", (check,), effect)


def _supernova(case: _Case) -> Verdict:
    radius = case.of("radius_rms")
    grown = float(radius.max() - radius[0])
    needs = case.needs()
    checks = (
        Check(
            "share of the run until half of the growth",
            half_growth_share(case.series["step"].to_numpy(), radius),
            (-_INFINITY, case.thresholds.gradual_share),
            case.reason("gradual_share"),
            needs=needs,
        ),
        Check(
            "growth of the RMS radius",
            grown,
            (_POSITIVE, _INFINITY),
            "An expansion expands.",
            needs=needs,
        ),
    )
    effect = f"the RMS radius grew by {grown:.3g} from {radius[0]:.3g}{_half_by(case)}"
    return Verdict("S2", "singular", "Training causes rapid supernova expansion", checks, effect)


def _walks_to_rest(case: _Case) -> Verdict:
    needs = case.needs("live")
    radius, limits = case.of("radius_rms", "live"), case.thresholds
    rate = case.series["learning_rate"].to_numpy() if "learning_rate" in case.series else None
    steps = case.series["step"].to_numpy()
    walk = _brownian(case, "tokens", "live", needs)
    rest = Check(
        "relative change of the live radius in the last part of the run",
        math.nan if needs else late_change(steps, radius, rate, limits.equilibrium_window),
        (-_INFINITY, limits.equilibrium_change),
        case.reason("equilibrium_change"),
        needs=needs,
    )
    return Verdict(
        "S3", "singular", "Active tokens random-walk to equilibrium", (walk, rest), _distance_from_one(walk)
    )


def _dead_frozen(case: _Case) -> Verdict:
    needs = case.needs("dead")
    value = low = high = math.nan
    by = effect = ""
    if not case.has("dead"):
        value, low, high, by = _median(case.tokens("net_quanta", "dead"))
        effect = _against_live(case)
    check = Check(
        "median net displacement of dead tokens in units of rounding",
        value,
        (-_INFINITY, case.thresholds.frozen_quanta),
        case.reason("frozen_quanta"),
        low,
        high,
        by,
        needs,
    )
    prediction = "Dead tokens stay frozen at the initialization point, up to quantization noise"
    return Verdict("S4", "singular", prediction, (check,), effect)


def _ends_as_hole(case: _Case) -> Verdict:
    needs = case.needs("live", "dead")
    limits = case.thresholds
    live, dead = case.of("radius_rms", "live")[-1], case.of("radius_rms", "dead")[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        tight = float(dead / live)
    low, high = (number_of(end) for end in case.summary["live_dead_distance_interval"])
    distance = number_of(case.summary["live_dead_distance"])
    overlap = number_of(case.summary["jaccard_all"])
    checks = (
        Check(
            "RMS radius of the dead over that of the live",
            tight,
            (-_INFINITY, limits.tight),
            case.reason("tight"),
            needs=needs,
        ),
        Check(
            "Jaccard index of the tokens in black holes and the dead",
            overlap,
            (limits.hole_overlap, _INFINITY),
            case.reason("hole_overlap"),
            needs=needs,
        ),
        Check(
            "distance between live and dead centroids",
            distance,
            (limits.separation_low, limits.separation_high),
            case.reason("separation_low"),
            low,
            high,
            "95 %, delta method over tokens",
            needs,
        ),
    )
    effect = "" if needs else f"the distance is {distance / live:.3g} times the live radius"
    prediction = "Final structure: tight black hole cluster and a dispersed cloud 0.2 to 0.4 units away"
    return Verdict("S5", "singular", prediction, checks, effect)


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


def _median(values: NDArray[np.float64]) -> tuple[float, float, float, str]:
    """Median over tokens, its interval, and what that is by; tokens that move as one are no sample."""
    if len(values) > 1 and np.ptp(values) == 0:
        return float(values[0]), math.nan, math.nan, ""
    return float(np.median(values)), *median_interval(values)[:2], _TOKENS


def _against_live(case: _Case) -> str:
    if case.has("live"):
        return ""
    dead, live = (float(np.median(case.tokens("net_displacement", group))) for group in ("dead", "live"))
    ratio = f", {dead / live:.3g} of what live tokens did" if live > 0 else ""
    return f"dead tokens moved by {dead:.3g}{ratio} (medians)"


def _radius_ratio(first: NDArray[np.float64], last: NDArray[np.float64]) -> tuple[float, float, float]:
    """RMS of the last radii over that of the first, and its 95 % interval by leaving out each token."""
    before, after = first**2, last**2
    count = len(before)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.sqrt(after.sum() / before.sum()))
        without = np.sqrt((after.sum() - after) / (before.sum() - before))
        error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    return (ratio, ratio - 1.96 * error, ratio + 1.96 * error)
