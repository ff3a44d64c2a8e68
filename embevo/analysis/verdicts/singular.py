"""The predictions for singular initialisation, S1 to S5."""

import math

import numpy as np

from embevo.analysis.json_numbers import number_of
from embevo.analysis.measures.bands import bands
from embevo.analysis.measures.pieces import FIRST, SECOND, WHOLE
from embevo.analysis.verdicts.case import FROM_THE_START, INFINITY, RANDOM, Case
from embevo.analysis.verdicts.verdict import Reading, Verdict

_CASES = 999


def starts_as_one(case: Case) -> Verdict:
    """S1: all tokens start at one point."""
    places = case.thresholds.start_places
    check = case.check(
        "number of distinct rows at step 0",
        [Reading("step 0", float(case.of("distinct_rows")[0]))],
        (places, places),
        "start_places",
        case.begins,
    )
    effect = f"{case.of('black_hole_largest')[0]:.0f} of {case.summary['tokens']} tokens at one point"
    return Verdict("S1", "singular", "All tokens start at identical location", (check,), effect)


def supernova(case: Case) -> Verdict:
    """S2: they fly apart."""
    radius = case.of("radius_rms")
    effect = f"the RMS radius grew by {radius.max() - radius[0]:.3g} from {radius[0]:.3g}{case.half_by()}"
    checks = (case.flight(case.needs(), fast=True),)
    return Verdict("S2", "singular", "Training causes rapid supernova expansion", checks, effect)


def walks_to_rest(case: Case) -> Verdict:
    """S3: they walk and come to rest."""
    needs, limit = case.needs("live"), case.thresholds.equilibrium_growth
    found = case.summary["growth"].get("live", {}).get("settling", {})
    rest = case.check(
        "growth of the squared live radius over what random directions add to it",
        case.readings(found, [SECOND, *(place for place in found if place != SECOND)]),
        (-limit, limit),
        "equilibrium_growth",
        needs,
        null=RANDOM,
        expects="below",
    )
    checks = (*case.walk("live", "live tokens", needs), rest)
    effect = (
        "" if math.isnan(rest.value) else f"the live radius ends at {case.of('radius_rms', 'live')[-1]:.3g}"
    )
    return Verdict("S3", "singular", "Active tokens random-walk to equilibrium", checks, effect)


def dead_frozen(case: Case) -> Verdict:
    """S4: the dead tokens move no more than rounding moves them."""
    check = case.check(
        "net displacement of dead tokens in ULPs, over elements that can move",
        case.readings(case.summary["dead_quanta"], FROM_THE_START),
        (-INFINITY, case.thresholds.frozen_quanta),
        "frozen_quanta",
        case.needs("dead"),
        null="the recorded moves, forward or back at random",
        expects="beyond",
    )
    share = number_of(case.summary["pinned_share"]["dead"])
    effect = "" if case.has("dead") else case.against_live()
    if effect and not math.isnan(share):
        effect += f"; {100 * share:.3g} % of their elements could never move"
    prediction = "Dead tokens stay frozen at the initialization point, up to quantization noise"
    return Verdict("S4", "singular", prediction, (check,), effect)


def ends_as_hole(case: Case) -> Verdict:
    """S5: the dead end in one black hole."""
    needs, limits = case.needs("live", "dead"), case.thresholds
    checks = (
        case.check(
            "RMS radius of the dead over that of the live",
            case.readings(case.summary["growth"].get("dead", {}).get("tightness"), (WHOLE, FIRST)),
            (-INFINITY, limits.tight),
            "tight",
            needs,
            null="dead tokens that take their steps in random directions, each by itself",
            expects="below",
        ),
        case.check(
            "Jaccard index of the tokens in black holes and the dead",
            [] if needs else [_overlap(case)],
            (limits.hole_overlap, INFINITY),
            "hole_overlap",
            needs,
            null="as many tokens drawn at random",
            expects="above",
        ),
        case.check(
            "distance between live and dead centroids",
            case.readings(case.summary["separations"], (WHOLE, FIRST)),
            (limits.separation_low, limits.separation_high),
            "separation_low",
            needs,
            null="live tokens in random directions, and the dead as one body in another",
        ),
    )
    distance = number_of(case.summary["live_dead_distance"])
    live = case.of("radius_rms", "live")[-1]
    effect = "" if needs else f"the distance is {distance / live:.3g} times the live radius"
    prediction = "Final structure: tight black hole cluster and a dispersed cloud 0.2 to 0.4 units away"
    return Verdict("S5", "singular", prediction, checks, effect)


def _overlap(case: Case) -> Reading:
    """Jaccard index, beside that of the dead and as many tokens as are in black holes, drawn at random."""
    inside = int((case.series["black_hole"].to_numpy() >= 0).sum())
    dead, live = case.summary["dead"], case.summary["live"]
    drawn = np.random.default_rng(0).hypergeometric(dead, live, inside, _CASES).astype(np.float64)
    (band,) = bands(
        np.array([number_of(case.summary["jaccard_all"])]), (drawn / (dead + inside - drawn))[:, None]
    )
    return Reading(WHOLE, band.value, band.low, band.high)
