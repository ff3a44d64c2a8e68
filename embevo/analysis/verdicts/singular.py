"""The predictions for singular initialisation, S1 to S5."""

import math
from functools import partial

import numpy as np

from embevo.analysis.json_numbers import number_of
from embevo.analysis.measures.groups import GROUPS
from embevo.analysis.measures.growth import late_change, late_row
from embevo.analysis.measures.interval import (
    jackknife_interval,
    share_interval,
)
from embevo.analysis.verdicts.case import (
    HALF_GROWTH,
    INFINITY,
    POSITIVE,
    TENTHS,
    Case,
    Estimate,
    against_live,
    brownian,
    distance_from_one,
    half_by,
    median,
)
from embevo.analysis.verdicts.verdict import Check, Verdict


def starts_as_one(case: Case) -> Verdict:
    """S1: all tokens start at one point."""
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


def supernova(case: Case) -> Verdict:
    """S2: they fly apart."""
    needs = case.needs()
    growth = case.of_radius(lambda radius: float(radius.max() - radius[0]))
    checks = (
        case.half_growth.within(
            (-INFINITY, case.thresholds.gradual_share), HALF_GROWTH, case.reason("gradual_share"), needs
        ),
        growth.within((POSITIVE, INFINITY), "growth of the RMS radius", "An expansion expands.", needs),
    )
    start = case.of("radius_rms")[0]
    effect = f"the RMS radius grew by {growth.value:.3g} from {start:.3g}{half_by(case)}"
    return Verdict("S2", "singular", "Training causes rapid supernova expansion", checks, effect)


def walks_to_rest(case: Case) -> Verdict:
    """S3: they walk and come to rest."""
    needs = case.needs("live")
    limits = case.thresholds
    rate = case.series["learning_rate"].to_numpy() if "learning_rate" in case.series else None
    steps = case.series["step"].to_numpy()
    walk = brownian(case, "tokens", "live", needs)
    change, effect = Estimate(math.nan), distance_from_one(walk)
    if not needs:
        row = late_row(steps, rate, limits.equilibrium_window)
        change = case.of_radius(partial(late_change, row=row), "live")
        size = f"the live radius changed by {change.value:.3g} of its size from step {steps[row]:,} on"
        effect = f"{effect}; {size}" if effect else size
    rest = change.within(
        (-INFINITY, limits.equilibrium_change),
        "relative change of the live radius in the last part of the run",
        case.reason("equilibrium_change"),
        needs,
    )
    return Verdict("S3", "singular", "Active tokens random-walk to equilibrium", (walk, rest), effect)


def dead_frozen(case: Case) -> Verdict:
    """S4: the dead tokens move no more."""
    needs = case.needs("dead")
    quanta, effect = Estimate(math.nan), ""
    if not case.has("dead"):
        quanta = median(case.tokens("net_quanta", "dead"))
        effect = against_live(case)
    check = quanta.within(
        (-INFINITY, case.thresholds.frozen_quanta),
        "median net displacement of dead tokens in units of rounding",
        case.reason("frozen_quanta"),
        needs,
    )
    prediction = "Dead tokens stay frozen at the initialization point, up to quantization noise"
    return Verdict("S4", "singular", prediction, (check,), effect)


def ends_as_hole(case: Case) -> Verdict:
    """S5: the dead end in one black hole."""
    needs = case.needs("live", "dead")
    limits = case.thresholds
    low, high = (number_of(end) for end in case.summary["live_dead_distance_interval"])
    distance = number_of(case.summary["live_dead_distance"])
    apart = Estimate.of(distance, (low, high), "95 %, delta method over tokens")
    checks = (
        _tightness(case).within(
            (-INFINITY, limits.tight),
            "RMS radius of the dead over that of the live",
            case.reason("tight"),
            needs,
        ),
        (_overlap(case) if not needs else Estimate(math.nan)).within(
            (limits.hole_overlap, INFINITY),
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


def _dead_are_one(case: Case) -> bool:
    """Whether the dead end as one vector: then they are one of a kind, and no sample of anything."""
    return bool(case.of("distinct_rows", "dead")[-1] == 1)


def _tightness(case: Case) -> Estimate:
    """Last RMS radius of the dead over that of the live, a tenth of each being left out at a time."""
    without = case.series["radius_rms_without"].to_numpy()[-1]
    live, dead = GROUPS.index("live"), GROUPS.index("dead")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(case.of("radius_rms", "dead")[-1] / case.of("radius_rms", "live")[-1])
        interval = jackknife_interval(ratio, without[dead] / without[live])
    return Estimate(ratio) if _dead_are_one(case) else Estimate.of(ratio, interval, TENTHS)


def _overlap(case: Case) -> Estimate:
    """Jaccard index: the share of those that are in a black hole or dead which are both."""
    inside = case.series["black_hole"].to_numpy() >= 0
    dead = case.series["token_count"].to_numpy() == 0
    index = number_of(case.summary["jaccard_all"])
    if _dead_are_one(case):
        return Estimate(index)
    interval = share_interval(int((inside & dead).sum()), int((inside | dead).sum()))
    return Estimate.of(index, interval, "95 %, score interval over the tokens that are either")
