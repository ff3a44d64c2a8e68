"""Numbers of a report beside what chance makes of them."""

from collections.abc import Sequence

from embevo.analysis import Analysis
from embevo.analysis.nulls.distribution import NullDistribution, numbers_of
from embevo.analysis.report.markup import Markup, table, tag
from embevo.errors import AnalysisError


def chance_section(subjects: Sequence[tuple[str, Analysis]], nulls: Sequence[NullDistribution]) -> Markup:
    """The section on what surrogates of the runs have; each number is matched with the run that has it.

    Args:
        subjects: the runs, each with the name that it has on the page.
        nulls: of numbers of these runs, from :func:`embevo.analysis.null_distribution`.

    Raises:
        AnalysisError: no run on the page has the number that a distribution was made beside.
    """
    rows = []
    for null in nulls:
        of = [
            name
            for name, analysis in subjects
            if numbers_of(analysis.summary).get(null.measure) == null.value
        ]
        if not of:
            raise AnalysisError(
                f"no run of this report has {null.value!r} as its {null.measure}: the null distribution is "
                "of another run, or the run has changed. Make it again: embevo null RUN "
                f"--measure {null.measure} --kind {null.kind} --json"
            )
        low, middle, high = null.quantiles(0.025, 0.5, 0.975)
        chance = f"{middle:.4g} ({low:.4g} to {high:.4g})"
        outside = null.value < low or null.value > high
        rows.append(
            (
                null.measure,
                ", ".join(of),
                f"{null.value:.4g}" + (" (outside)" if outside else ""),
                chance,
                f"{null.below:,} of {null.known:,}",
                f"{null.p_low:.2g}, {null.p_high:.2g}",
                f"{null.kind}, seed {null.seed}",
            )
        )
    head = ("number", "run", "recorded", "by chance", "smaller", "p, low and high", "surrogates")
    return tag(
        "section",
        tag("h2", "Against chance", id="chance"),
        tag(
            "p",
            "What surrogates have, which keep some of what was recorded and leave the rest to chance: the "
            "median, and where 95 % of them lie. p is the probability, by chance, of a number as low, or as "
            "high, as the recorded one. Of twenty numbers, one is expected to be outside by chance.",
        ),
        table(head, rows, class_="numbers"),
    )
