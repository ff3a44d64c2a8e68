"""The section of a report on the predictions: the verdicts, or why there are none."""

from collections.abc import Sequence
from typing import Final

from embevo.analysis import Analysis
from embevo.analysis.comparison import Comparison
from embevo.analysis.report.markup import Markup, joined, table, tag
from embevo.analysis.verdicts.verdict import Check, Verdict

_MARKS: Final = {"supported": "✓ supported", "refuted": "✗ refuted", "undecided": "? undecided"}
_HYPOTHESES: Final = {
    "normal": "Normal initialisation: every token starts as a random vector of its own.",
    "singular": "Singular initialisation: all tokens start as one and the same vector.",
}
_WORDS: Final = (
    (
        "token",
        "what the model reads and predicts, such as a character or a word; each has a vector of its own",
    ),
    ("distinct rows", "different vectors; a row is a token's vector"),
    ("RMS radius", "root-mean-square distance from the centroid"),
    ("centroid", "the mean of a group of vectors"),
    ("black hole", "two or more tokens whose vectors are the same in every bit"),
    ("ULP", "the gap between a number and the next one that the stored type can represent"),
    ("embedding units", "lengths are Euclidean, in the units of the vectors' elements"),
)


def verdicts_section(subjects: Sequence[tuple[str, Analysis]], comparison: Comparison | None) -> Markup:
    """The section on verdicts.

    Args:
        subjects: the runs, each with the name that it has on the page.
        comparison: of them; None for a single run.
    """
    sections = [_verdicts_on(name, analysis) for name, analysis in subjects]
    judged = any(analysis.applies.judged for _, analysis in subjects)
    together = []
    for group in comparison.groups if comparison else ():
        if len(group.runs) > 1 and group.verdicts:
            runs = [
                f"{verdict}: {', '.join(f'{count} {name}' for name, count in outcomes.items())}"
                for verdict, outcomes in group.outcomes.items()
            ]
            together += [
                tag("h3", f"{len(group.runs)} runs together: {group.label}"),
                tag("p", f"Run by run: {'; '.join(runs)}.", class_="soft"),
                _verdict_table(group.verdicts),
            ]
    for family in comparison.families if comparison else ():
        together += [
            tag("h3", f"What survives, of {len(family.runs)} runs: {family.label}"),
            tag("ul", [tag("li", tag("b", of.id), f" {of.sentence}.") for of in family.survivals]),
        ]
    return tag(
        "section",
        tag("h2", "Verdicts", id="verdicts"),
        tag(
            "p",
            "Each prediction was written down before embevo's experiment. What was measured is compared with "
            "the range that the prediction asks for, and with a null: what the run would have made if its "
            "steps had gone anywhere. It is supported or refuted only if the same holds of the run without "
            "its first 100 steps and of its halves, as far as they are asked; otherwise it is undecided, and "
            "the text says what holds of what. Of several parts any refutes the prediction, and all support "
            "it. How much other seeds would differ, several runs tell.",
        )
        if judged
        else "",
        together,
        sections,
        tag("h3", "Words used here"),
        tag("dl", [joined(tag("dt", word), tag("dd", meaning)) for word, meaning in _WORDS], class_="words"),
    )


def _verdicts_on(name: str, analysis: Analysis) -> Markup:
    """The verdicts on one run, or why there are none."""
    applies = analysis.applies
    parts = [tag("h3", name)]
    if applies.statement:
        parts.append(tag("p", applies.statement))
    if applies.initialisation is not None:
        parts.append(tag("p", _HYPOTHESES[applies.initialisation], class_="soft"))
        parts.append(_verdict_table(analysis.verdicts))
    return joined(parts)


def _verdict_table(verdicts: Sequence[Verdict]) -> Markup:
    rows = []
    for verdict in verdicts:
        checks = [_check(check, alone=len(verdict.checks) == 1) for check in verdict.checks]
        because: list[Markup] = [tag("ul", [tag("li", check) for check in checks])]
        if verdict.effect:
            because.append(tag("p", f"Size of the effect: {verdict.effect}.", class_="soft"))
        rows.append(
            [
                joined(tag("b", verdict.id), f" {verdict.prediction}"),
                tag("span", _MARKS[verdict.outcome], class_=f"outcome {verdict.outcome}"),
                joined(because),
            ]
        )
    return table(("Prediction", "Verdict", "What was measured"), rows, class_="verdicts")


def _check(check: Check, *, alone: bool) -> Markup:
    text = check.sentence[0].upper() + check.sentence[1:].replace(">=", "≥").replace("<=", "≤")
    how = f" Null: {check.null}." if check.beside else ""
    how += f" Interval: {check.interval_by}." if check.uncertainty else ""
    mark = "" if alone else tag("b", f" ({check.outcome})", class_=check.outcome)
    return joined(text, mark, ".", tag("span", how, class_="soft"))
