"""The predictions for normal initialisation, N1 to N4."""

import math

import numpy as np

from embevo.analysis.json_numbers import number_of
from embevo.analysis.verdicts.case import (
    HALF_GROWTH,
    INFINITY,
    ONES,
    POSITIVE,
    Case,
    Estimate,
    against_live,
    brownian,
    distance_from_one,
    half_by,
    median,
    radius_ratio,
)
from embevo.analysis.verdicts.verdict import Check, Verdict


def starts_apart(case: Case) -> Verdict:
    """N1: the token vectors start at different random locations."""
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


def expands_and_drifts(case: Case) -> Verdict:
    """N2: the cloud expands and drifts."""
    limits, needs = case.thresholds, case.needs()
    expansion = radius_ratio(case.series["radius_first"].to_numpy(), case.series["radius_last"].to_numpy())
    low, high = (number_of(end) for end in case.summary["drift_interval"])
    drift = Estimate.of(number_of(case.summary["drift"]), (low, high), ONES)
    checks = (
        expansion.within(
            (limits.expansion, INFINITY), "last RMS radius over first", case.reason("expansion"), needs
        ),
        case.half_growth.within(
            (limits.gradual_share, INFINITY), HALF_GROWTH, case.reason("gradual_share"), needs
        ),
        drift.within(
            (limits.drift, INFINITY),
            "displacement of the centroid over that of independent tokens",
            case.reason("drift"),
            needs,
        ),
    )
    effect = (
        f"the cloud grew {expansion.value:.3g} times{half_by(case)}, and its centroid moved "
        f"{case.of('centroid_displacement')[-1]:.3g}"
    )
    return Verdict("N2", "normal", "Cloud gradually expands and drifts", checks, effect)


def centroid_walks(case: Case) -> Verdict:
    """N3: the centroid walks at random."""
    check = brownian(case, "centroid", "all", case.needs())
    effect = distance_from_one(check)
    return Verdict("N3", "normal", "Centroid undergoes a random walk (Brownian)", (check,), effect)


def dead_near_origin(case: Case) -> Verdict:
    """N4: where the dead tokens end."""
    needs = case.needs("dead")
    reach = moved = Estimate(math.nan)
    effect = ""
    if not case.has("dead"):
        displacement = case.tokens("net_displacement", "dead")
        moved = median(displacement)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = median(displacement / case.tokens("token_norm_first", "dead"))
        effect = against_live(case)
    near = reach.within(
        (-INFINITY, case.thresholds.dead_reach),
        "median net displacement of dead tokens over their norm at step 0",
        case.reason("dead_reach"),
        needs,
    )
    drifted = moved.within(
        (POSITIVE, INFINITY),
        "median net displacement of dead tokens",
        "Drifting slightly is still moving.",
        needs,
    )
    prediction = "Dead tokens drift slightly but stay near the origin"
    return Verdict("N4", "normal", prediction, (near, drifted), effect)
