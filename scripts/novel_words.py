"""What scripts/make_novel.py says of runs: their numbers, and sentences with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from embevo.analysis import Analysis
from embevo.analysis.json_numbers import number_of
from embevo.analysis.measures.pieces import FIRST, LATER, SECOND, WHOLE

STEPS = 5000
KINDS = {"singular": "qwen", "normal": "normal"}


@dataclass(frozen=True)
class Subject:
    """One run that is taken.

    Attributes:
        kind: ``singular`` or ``normal``.
        seed: of the run.
        threads: on how many it was trained.
        steps: how many it has.
        analysis: what was found of it.
    """

    kind: str
    seed: int
    threads: int
    steps: int
    analysis: Analysis


Value = Callable[[Analysis], float]


def summary_of(*names: str) -> Value:
    """A number of the summary, found by its names one after the other."""

    def value(analysis: Analysis) -> float:
        found: Any = analysis.summary
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return number_of(found)

    return value


def excess(whose: str, piece: str, statistic: str = "windows") -> Value:
    """A statistic of a walk, less its mean under the null."""
    one, null = (summary_of("walks", whose, piece, statistic, name) for name in ("value", "null"))
    return lambda analysis: one(analysis) - null(analysis)


def dead_reach(analysis: Analysis) -> float:
    """How far the dead got, over random walks of their steps."""
    found = analysis.summary["walks"]["dead"][WHOLE]["reach"]
    return number_of(found["value"]) / number_of(found["null"])


def dead_reach_band(analysis: Analysis) -> float:
    """The upper end of the band of that."""
    found = analysis.summary["walks"]["dead"][WHOLE]["reach"]
    return number_of(found["high"]) / number_of(found["null"])


def straight(analysis: Analysis) -> float:
    """Flight until half of the growth of tokens that go straight on, whatever side they began on."""
    radius = analysis.series["radius_rms"].to_numpy()[:, 0]
    half = radius[0] + (radius.max() - radius[0]) / 2
    return float(np.sqrt((half - radius[0]) / (half + radius[0])))


def dead_moved(analysis: Analysis) -> float:
    """Median net displacement of the dead."""
    return float(np.median(tokens(analysis, "net_displacement", "dead")))


def dead_over_live(analysis: Analysis) -> float:
    """The same over that of the live tokens."""
    return dead_moved(analysis) / float(np.median(tokens(analysis, "net_displacement", "live")))


def tokens(analysis: Analysis, name: str, group: str) -> Any:
    """``(token,)`` values of a group."""
    dead = analysis.series["token_count"].to_numpy() == 0
    return analysis.series[name].to_numpy()[dead if group == "dead" else ~dead]


def rate_at_rest(analysis: Analysis) -> float:
    """Share of the largest learning rate that was left at the last motion of the dead."""
    last = analysis.summary["phases"]["dead"]["moving"]
    rate = analysis.series["learning_rate"]
    return float("nan") if last is None else float(rate.sel(step=last) / rate.max())


def pinned_at(share: float) -> Value:
    """Share of the elements that are pinned when so much of the run is done."""

    def value(analysis: Analysis) -> float:
        pinned = analysis.series["pinned"].to_numpy()[:, 0]
        return float(pinned[max(1, round(share * (len(pinned) - 1)))])

    return value


def moved_though_pinned(analysis: Analysis) -> float:
    """How often an element moved though it was pinned, over how often one was pinned."""
    moved = float(np.nansum(analysis.series["pinned_moved"].to_numpy()))
    elements = analysis.summary["tokens"] * analysis.summary["dim"]
    pinned = float(np.nansum(analysis.series["pinned"].to_numpy()[:, 0])) * elements
    return moved / pinned if pinned else float("nan")


NUMBERS: dict[str, Value] = {
    "RMS radius, live, first row": summary_of("groups", "live", "radius_rms_first"),
    "RMS radius, live, last row": summary_of("groups", "live", "radius_rms_last"),
    "RMS radius, dead, last row": summary_of("groups", "dead", "radius_rms_last"),
    "distinct rows, dead, last row": summary_of("groups", "dead", "distinct_rows_last"),
    "distinct rows, live, last row": summary_of("groups", "live", "distinct_rows_last"),
    "centroid displacement": summary_of("groups", "all", "centroid_displacement"),
    "net displacement of the dead, median": dead_moved,
    "the same over that of live tokens": dead_over_live,
    "the same in ULPs, over elements that can move": summary_of("dead_quanta", WHOLE, "value"),
    "distance of live and dead centroids": summary_of("live_dead_distance"),
    "dead: last step above 1 ULP": summary_of("phases", "dead", "hopping"),
    "dead: last motion, step": summary_of("phases", "dead", "moving"),
    "learning rate left then": rate_at_rest,
    "half of the growth by step": summary_of("growth", "all", "half_step", WHOLE),
    "share of the way that became growth (flight)": summary_of("growth", "all", "flight", WHOLE, "value"),
    "elements pinned at the first step": pinned_at(0.0),
    "elements pinned half-way": pinned_at(0.5),
    "pinned elements that moved all the same, share of element-steps": moved_though_pinned,
    "MSD exponent of the centroid, no test of anything": summary_of("exponents", "centroid", "all", "value"),
    "loss at the last step": summary_of("loss_last"),
    "loss of a model that knows frequencies only": summary_of("unigram_loss"),
}


def spread(values: Sequence[float], seeds: Sequence[int]) -> str:
    """The median over seeds, each with the mean over its runs, and the range over runs."""
    known = sorted(value for value in values if not np.isnan(value))
    if not known:
        return "-"
    if known[0] == known[-1]:
        return f"{known[0]:,.4g}"
    return f"{over_seeds(values, seeds):,.4g} ({known[0]:,.3g} to {known[-1]:,.3g})"


def over_seeds(values: Sequence[float], seeds: Sequence[int]) -> float:
    """The median over seeds: runs of one seed are no sample and count once, by their mean."""
    each: dict[int, list[float]] = {}
    for seed, value in zip(seeds, values, strict=True):
        if not np.isnan(value):
            each.setdefault(seed, []).append(value)
    return median(fmean(of) for of in each.values()) if each else float("nan")


def of(subjects: Sequence[Subject], kind: str, threads: int = 0, steps: int = STEPS) -> list[Analysis]:
    """Of a kind and length, and of a number of threads unless that is 0."""
    return [one.analysis for one in chosen(subjects, kind, threads, steps)]


def seeds_of(subjects: Sequence[Subject], kind: str, threads: int = 0, steps: int = STEPS) -> list[int]:
    """The seed of each of these."""
    return [one.seed for one in chosen(subjects, kind, threads, steps)]


def chosen(subjects: Sequence[Subject], kind: str, threads: int, steps: int) -> list[Subject]:
    """Those of a kind and length, and of a number of threads unless that is 0."""
    return [one for one in subjects if (one.kind, one.steps) == (kind, steps) and threads in (0, one.threads)]


def words(subjects: Sequence[Subject]) -> list[str]:
    """Sentences, each with its numbers: medians over seeds, and the range over runs of the usual length.

    They claim nothing that the numbers in them do not say, whatever these are.
    """
    both = {kind: of(subjects, kind) for kind in KINDS}

    def told(kind: str, value: Value) -> str:
        return spread([value(one) for one in both[kind]], seeds_of(subjects, kind))

    def shares(kind: str, value: Value, holds: Callable[[float], bool]) -> str:
        return f"{sum(holds(value(one)) for one in both[kind])} of {len(both[kind])}"

    flight = summary_of("growth", "all", "flight", WHOLE, "value")
    later = summary_of("growth", "all", "flight", LATER, "value")
    null = summary_of("growth", "all", "flight", WHOLE, "null")
    half = summary_of("growth", "all", "half_step", WHOLE)
    distance = summary_of("live_dead_distance")
    settling, settling_band = (
        summary_of("growth", "live", "settling", SECOND, name) for name in ("value", "high")
    )
    dead_radius_first, dead_radius_last = (
        summary_of("groups", "dead", f"radius_rms_{row}") for row in ("first", "last")
    )
    quanta, noise = (summary_of("dead_quanta", WHOLE, name) for name in ("value", "high"))
    distinct = summary_of("groups", "dead", "distinct_rows_last")
    pairs = same_with_other_threads(subjects)
    steps = summary_of("phases", "dead", "moving")
    start = pinned_at(0.0)
    return [
        (
            f"Where the dead end: {told('singular', dead_moved)} from where they began in singular runs "
            f"(median), {told('singular', dead_over_live)} times as far as live tokens; in normal ones "
            f"{told('normal', dead_moved)}, {told('normal', dead_over_live)} times as far. In the elements "
            f"that can move that is {told('singular', quanta)} ULPs in singular runs, where the same moves, "
            f"forward or back at random, make {told('singular', noise)} at the upper end of their band. "
            f"They went {told('singular', dead_reach)} times as far as random walks of their steps that "
            "remember what the optimizer does, whose band ends at "
            f"{told('singular', dead_reach_band)}; in normal runs {told('normal', dead_reach)} times, with "
            f"a band to {told('normal', dead_reach_band)}."
        ),
        (
            f"The dead of singular runs end in {told('singular', distinct)} vectors, those of normal runs in "
            f"{told('normal', distinct)}. Dead tokens that begin as one get the same gradient, so that "
            "this is what symmetry makes, and no sign of attraction. Where they begin apart, their radius "
            f"goes from {told('normal', dead_radius_first)} to {told('normal', dead_radius_last)}."
        ),
        (
            f"Of all elements {told('singular', start)} are pinned at the first step in singular runs and "
            f"{told('normal', start)} in normal ones; half-way, at half of the rate, "
            f"{told('singular', pinned_at(0.5))} and {told('normal', pinned_at(0.5))}. Of all steps of "
            f"pinned elements a share of {told('singular', moved_though_pinned)} moved them all the same in "
            "singular runs."
        ),
        (
            f"The dead move for the last time at step {told('singular', steps)} of singular runs, with "
            f"{told('singular', rate_at_rest)} of the learning rate left, and at step "
            f"{told('normal', steps)} of normal ones, with {told('normal', rate_at_rest)}."
        ),
        (
            f"Half of the growth has happened by step {told('singular', half)} in singular runs and "
            f"{told('normal', half)} in normal ones. Until then {told('singular', flight)} of the way of "
            f"the tokens became growth in singular runs, where random directions make "
            f"{told('singular', null)}, and {told('normal', flight)} in normal ones, where they make "
            f"{told('normal', null)}, and straight flight, wherever a token began, "
            f"{told('normal', straight)}; without the first 100 steps {told('singular', later)} and "
            f"{told('normal', later)}. One threshold for both, 0.5, is met more easily by runs that begin "
            "at one point."
        ),
        (
            "How directed the centroid is: the cosine between neighbouring twentieths of its way is, less "
            f"that of random walks, {told('normal', excess('centroid', WHOLE))} in normal runs, "
            f"{told('normal', excess('centroid', FIRST))} in their first half and "
            f"{told('normal', excess('centroid', SECOND))} in their second; in singular runs "
            f"{told('singular', excess('centroid', WHOLE))}, "
            f"{told('singular', excess('centroid', FIRST))} and "
            f"{told('singular', excess('centroid', SECOND))}."
        ),
        (
            f"Live and dead end {told('singular', distance)} apart in singular runs, within the "
            "predicted 0.2 to 0.4 "
            f"in {shares('singular', distance, lambda value: 0.2 <= value <= 0.4)}."
        ),
        (
            "In the second half the squared live radius of singular runs grows by "
            f"{told('singular', settling)} times what the same steps add in random directions, on average; "
            f"the band of random directions ends at {told('singular', settling_band)}."
        ),
        *pairs,
    ]


def same_with_other_threads(subjects: Sequence[Subject]) -> list[str]:
    """How much of it another number of threads changes, in a sentence; none with one number of threads."""
    pairs = [
        (one.analysis, other.analysis)
        for one in subjects
        for other in subjects
        if one.threads < other.threads
        and (one.kind, one.seed, one.steps) == (other.kind, other.seed, other.steps)
    ]
    if not pairs:
        return []
    decided = [
        one.outcome == other.outcome
        for first, second in pairs
        for one, other in zip(first.verdicts, second.verdicts, strict=True)
    ]
    labels = (
        "RMS radius, live, last row",
        "net displacement of the dead, median",
        "half of the growth by step",
    )
    apart = [
        abs(NUMBERS[label](first) / NUMBERS[label](second) - 1) for first, second in pairs for label in labels
    ]
    return [
        (
            f"Another number of threads gives other bits, and so does another processor: of "
            f"{len(pairs)} pairs of runs that differ in nothing else, {sum(decided)} of {len(decided)} "
            "verdicts are "
            f"the same, and radius, net displacement of the dead and step of half of the growth differ by "
            f"{100 * median(apart):.2g} % (median), up to {100 * max(apart):.2g} %."
        )
    ]
