"""The predictions for normal initialisation, N1 to N4."""

from embevo.analysis.measures.pieces import FIRST, WHOLE
from embevo.analysis.verdicts.case import ALL_PIECES, FROM_THE_START, INFINITY, RANDOM, Case
from embevo.analysis.verdicts.verdict import Reading, Verdict


def starts_apart(case: Case) -> Verdict:
    """N1: the token vectors start at different random locations."""
    limits = case.thresholds
    count, tokens = case.of("distinct_rows")[0], case.summary["tokens"]
    checks = (
        case.check(
            "share of tokens with a row of their own at step 0",
            [Reading("step 0", count / tokens)],
            (limits.start_distinct, 1.0),
            "start_distinct",
            case.begins,
        ),
        case.check(
            "mean cosine between the vectors at step 0",
            case.readings({"step 0": case.summary["start_cosine"]}, ["step 0"]),
            (-limits.walk_tolerance, limits.walk_tolerance),
            "walk_tolerance",
            case.begins,
            null="independent random directions",
            expects="inside",
            widest=limits.walk_resolution,
        ),
    )
    effect = f"{count:.0f} distinct rows among {tokens} tokens"
    return Verdict("N1", "normal", "Token vectors start at different random locations", checks, effect)


def expands_and_drifts(case: Case) -> Verdict:
    """N2: the cloud expands, not in flight, and drifts."""
    limits, needs = case.thresholds, case.needs()
    expansion = case.readings(case.summary["growth"].get("all", {}).get("expansion"), ALL_PIECES)
    checks = (
        case.check("last RMS radius over first", expansion, (limits.expansion, INFINITY), "expansion", needs),
        case.flight(needs, fast=False),
        case.check(
            "way of the bodies together over that of independent ones",
            case.readings(case.summary["drifts"], ALL_PIECES),
            (limits.drift, INFINITY),
            "drift",
            needs,
            null="live tokens in random directions, and the dead as one body in another",
            expects="above",
        ),
    )
    effect = (
        f"the cloud grew {expansion[0].value:.3g} times{case.half_by()}, and its centroid moved "
        f"{case.of('centroid_displacement')[-1]:.3g}"
        if expansion
        else ""
    )
    return Verdict("N2", "normal", "Cloud gradually expands and drifts", checks, effect)


def centroid_walks(case: Case) -> Verdict:
    """N3: the centroid walks at random."""
    checks = case.walk("centroid", "the centroid", case.needs())
    reach = case.readings(
        {place: of["reach"] for place, of in case.summary["walks"].get("centroid", {}).items()},
        [WHOLE],
        over="ratio",
    )
    effect = f"it got {reach[0].value:.3g} times as far as random walks of its steps" if reach else ""
    return Verdict("N3", "normal", "Centroid undergoes a random walk (Brownian)", checks, effect)


def dead_near_origin(case: Case) -> Verdict:
    """N4: where the dead tokens end."""
    needs, limits = case.needs("dead"), case.thresholds
    walks = case.summary["walks"].get("dead", {})
    checks = (
        case.check(
            "median net displacement of dead tokens over their distance from the origin before",
            case.readings(case.summary["dead_reach"], (WHOLE, FIRST)),
            (-INFINITY, limits.dead_reach),
            "dead_reach",
            needs,
        ),
        case.check(
            "net displacement of dead tokens over that of random walks of their steps",
            case.readings({place: of["reach"] for place, of in walks.items()}, FROM_THE_START, over="ratio"),
            (limits.dead_drift, INFINITY),
            "dead_drift",
            needs,
            null=RANDOM,
            expects="above",
        ),
    )
    effect = "" if case.has("dead") else case.against_live()
    return Verdict("N4", "normal", "Dead tokens drift slightly but stay near the origin", checks, effect)
