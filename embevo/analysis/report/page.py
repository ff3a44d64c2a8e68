"""report(): one run, or several side by side, on one page of HTML that needs nothing but itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

from embevo.analysis import Analysis
from embevo.analysis.comparison import Comparison, compare
from embevo.analysis.figures.catalogue import FIGURES, Figure
from embevo.analysis.figures.drawing import Drawing, share_scales
from embevo.analysis.figures.rendering import render
from embevo.analysis.figures.style import styled
from embevo.analysis.nulls.distribution import NullDistribution
from embevo.analysis.report.chance import chance_section
from embevo.analysis.report.found import findings_section, folded
from embevo.analysis.report.judged import verdicts_section
from embevo.analysis.report.markup import Markup, image, joined, table, tag
from embevo.analysis.report.reproduction import commands, report_command
from embevo.analysis.report.tables import (
    OVERVIEW,
    effects_table,
    numbers_by_section,
    settings_of,
    thresholds_table,
)
from embevo.analysis.verdicts.applicability import EMBEDDING
from embevo.errors import NothingToDrawError
from embevo.run.reading.reader import Run, open_run

# Of more runs than this, the first of each group is drawn: a page is to stay below a few megabytes.
_MOST_DRAWN: Final = 4
_DPI: Final = 240
_CSS_DPI: Final = 96


@dataclass(frozen=True)
class _Subject:
    """A run as the page knows it: under a name that no other run on the page has."""

    name: str
    run: Run
    analysis: Analysis


def report(
    analyses: Sequence[Analysis],
    *,
    out: str = "report.html",
    replay: str = "",
    nulls: Mapping[str, NullDistribution] | None = None,
    on_figure: Callable[[int, int], None] | None = None,
) -> str:
    """The page, as text: the same runs give the same text.

    Args:
        analyses: of the runs, in the order in which they are shown.
        out: name of the file, for the command that the page says it is made by.
        replay: a page of HTML in which the runs are replayed, which becomes a frame of this one; empty for
            none.
        nulls: what chance makes of numbers of these runs, by the file that it was read from.
        on_figure: called after each drawn figure with how many are done, and how many there will be.

    Raises:
        AnalysisError: a null is of no number of these runs.
    """
    names = _names([analysis.run_path for analysis in analyses])
    subjects = [
        _Subject(name, open_run(analysis.run_path), analysis)
        for name, analysis in zip(names, analyses, strict=True)
    ]
    named = [(subject.name, subject.analysis) for subject in subjects]
    comparison = compare(analyses) if len(analyses) > 1 else None
    matrices = dict.fromkeys(analysis.summary["matrix"] for analysis in analyses)
    what = "Embedding evolution" if list(matrices) == [EMBEDDING] else f"Evolution of {', '.join(matrices)}"
    title = f"{what}: {', '.join(names)}"
    body = joined(
        _introduction(title, subjects, replayed=bool(replay), chance=bool(nulls)),
        findings_section(named),
        _replay(replay) if replay else Markup(""),
        verdicts_section(named, comparison),
        _numbers(subjects, comparison),
        chance_section(named, list(nulls.values())) if nulls else Markup(""),
        _figures(subjects, _drawn(subjects, comparison), on_figure),
        _thresholds(analyses[0]) if any(analysis.applies.judged for analysis in analyses) else Markup(""),
        _settings(subjects),
        _reproduction(subjects, out, list(nulls or ())),
        tag("footer", f"Made by embevo {version('embevo')}."),
    )
    template = Template(files("embevo.analysis.report").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(version=version("embevo"), title=joined(title), body=body)


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the directories, as many of those above as it takes to tell the runs apart."""
    parts = [path.absolute().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


def _replay(page: str) -> Markup:
    """The page in a frame that can do nothing but draw itself and save pictures."""
    return tag(
        "section",
        tag("h2", "Replay", id="replay"),
        tag(
            "iframe",
            srcdoc=page,
            title="The run, replayed",
            sandbox="allow-scripts allow-downloads",
            class_="replay",
        ),
    )


def _introduction(title: str, subjects: Sequence[_Subject], *, replayed: bool, chance: bool) -> Markup:
    summary = subjects[0].analysis.summary
    judged = any(subject.analysis.applies.judged for subject in subjects)
    links = (
        ("findings", "Key findings"),
        *((("replay", "Replay"),) if replayed else ()),
        ("verdicts", "Verdicts"),
        ("numbers", "Key numbers"),
        *((("chance", "Against chance"),) if chance else ()),
        ("figures", "Figures"),
        ("thresholds", "Thresholds"),
        ("settings", "Settings"),
        ("again", "How to reproduce this"),
    )
    return tag(
        "header",
        tag("h1", title),
        tag(
            "p",
            "A language model keeps a vector for each token of its vocabulary; together they are its "
            "embedding. ",
            ""
            if summary["matrix"] == EMBEDDING
            else "Shown here is another matrix with a row for each token, ",
            "" if summary["matrix"] == EMBEDDING else joined(tag("code", summary["matrix"]), ". "),
            "They were recorded while the model learnt: "
            f"{summary['rows']:,} states of {summary['tokens']:,} vectors with {summary['dim']:,} elements"
            f"{' in the first run' if len(subjects) > 1 else ''}. This page says how they moved"
            f"{', and whether they did what had been predicted' if judged else ''}. A token is live if it "
            "occurs in the training text, and dead if it never does.",
        ),
        tag(
            "nav",
            [tag("a", text, href=f"#{anchor}") for anchor, text in links if judged or anchor != "thresholds"],
        ),
    )


# Numbers, thresholds, settings


def _numbers(subjects: Sequence[_Subject], comparison: Comparison | None) -> Markup:
    runs = [numbers_by_section(subject.analysis) for subject in subjects]
    names = [subject.name for subject in subjects]
    tables = []
    for section in dict.fromkeys(section for run in runs for section in run):
        columns = [run.get(section, {}) for run in runs]
        # The runs may have groups of different names; what none of them has is left out.
        labels = dict.fromkeys(label for column in columns for label in column)
        rows = [[label, *(column.get(label, "-") for column in columns)] for label in labels]
        rows = [row for row in rows if set(row[1:]) != {"-"}]
        if rows:
            numbers = table(("", *names), rows, class_="numbers")
            tables.append(folded(f"{section} ({len(rows)})", numbers, unfolded=section == OVERVIEW))
    effects = effects_table(comparison) if comparison and len(subjects) > len(comparison.groups) else None
    return tag(
        "section",
        tag("h2", "Key numbers", id="numbers"),
        tag(
            "p",
            "An arrow leads from the first recorded step to the last; in parentheses are 95 % intervals; "
            "lengths are in embedding units.",
            class_="soft",
        ),
        tables,
        [] if effects is None else [tag("h3", "Over all runs"), effects],
    )


def _thresholds(analysis: Analysis) -> Markup:
    return tag(
        "section",
        tag("h2", "Thresholds", id="thresholds"),
        tag(
            "p",
            "What the verdicts were decided by, and why. ",
            tag("code", "embevo report --threshold NAME=VALUE"),
            " decides by another.",
        ),
        thresholds_table(analysis.thresholds),
    )


def _settings(subjects: Sequence[_Subject]) -> Markup:
    names = [subject.name for subject in subjects]
    parts = []
    for title, of in (
        ("Configuration", lambda subject: subject.run.config),
        ("Corpus", lambda subject: subject.run.corpus),
        ("Versions", lambda subject: _mapping(subject.run, "versions")),
        ("Environment", lambda subject: _mapping(subject.run, "environment")),
    ):
        rows = settings_of([of(subject) for subject in subjects])
        parts.append(tag("h3", title))
        if rows:
            parts.append(table(("", *names), rows, class_="settings"))
        else:
            parts.append(tag("p", "Nothing was recorded of it.", class_="soft"))
    return tag("section", tag("h2", "Settings", id="settings"), parts)


def _mapping(run: Run, key: str) -> Mapping[str, Any]:
    value = run.attributes.get(key)
    return value if isinstance(value, Mapping) else {}


def _reproduction(subjects: Sequence[_Subject], out: str, nulls: Sequence[str]) -> Markup:
    parts = []
    for subject in subjects:
        lines = commands(subject.run, subject.run.path.absolute().name)
        text = (
            tag("pre", tag("code", "\n".join(lines)))
            if lines
            else tag(
                "p",
                "This run was recorded by a program of one's own; its configuration is above.",
                class_="soft",
            )
        )
        parts.append(joined(tag("h3", subject.name), text))
    return tag(
        "section",
        tag("h2", "How to reproduce this", id="again"),
        tag(
            "p",
            "With the versions above, on the same kind of processor and with the same number of threads, "
            "training gives the same bits.",
        ),
        parts,
        tag("h3", "This page"),
        tag("pre", tag("code", report_command([subject.analysis for subject in subjects], out, nulls))),
    )


# Figures


def _drawn(subjects: Sequence[_Subject], comparison: Comparison | None) -> list[_Subject]:
    """The runs whose figures are shown."""
    if comparison is None or len(subjects) <= _MOST_DRAWN:
        return list(subjects)
    firsts = {group.runs[0] for group in comparison.groups}
    return [subject for subject in subjects if subject.analysis.run_path in firsts][: 2 * _MOST_DRAWN]


def _figures(
    subjects: Sequence[_Subject], drawn: Sequence[_Subject], on_figure: Callable[[int, int], None] | None
) -> Markup:
    sections: dict[str, list[Markup]] = {}
    missing = []
    for number, figure in enumerate(FIGURES, 1):
        panels, reasons = _panels(figure, drawn)
        # What no run can show takes no place among the figures.
        if reasons and len(reasons) == len(drawn):
            missing.append(tag("li", tag("b", figure.title), ": ", *dict.fromkeys(reasons)))
        else:
            sections.setdefault(figure.group, []).append(
                tag(
                    "section",
                    tag("h3", figure.title),
                    tag("p", figure.guide),
                    tag("div", panels, class_="runs"),
                    class_="figure",
                    id=f"figure-{figure.name.replace('_', '-')}",
                )
            )
        if on_figure:
            on_figure(number, len(FIGURES))
    note = ""
    if len(drawn) < len(subjects):
        shown = ", ".join(subject.name for subject in drawn)
        note = f"Of the {len(subjects)} runs, those drawn are the first of each group: {shown}."
    return tag(
        "section",
        tag("h2", "Figures", id="figures"),
        tag("p", note, class_="soft") if note else "",
        [
            folded(group, tag("div", of, class_="figures" if len(drawn) == 1 else ""), unfolded=True)
            for group, of in sections.items()
        ],
        folded(f"Not drawn ({len(missing)})", tag("ul", missing)) if missing else "",
    )


def _panels(figure: Figure, subjects: Sequence[_Subject]) -> tuple[list[Markup], list[str]]:
    """One figure of each run, with common scales; and why some are not drawn."""
    panels: list[Markup] = []
    reasons: list[str] = []
    with styled():
        drawings: dict[str, Drawing | NothingToDrawError] = {}
        for subject in subjects:
            try:
                drawings[subject.name] = figure.draw(subject.analysis)
            except NothingToDrawError as reason:
                drawings[subject.name] = reason
        share_scales([drawing for drawing in drawings.values() if isinstance(drawing, Drawing)])
        for name, drawing in drawings.items():
            heading = tag("b", name) if len(subjects) > 1 else ""
            if isinstance(drawing, NothingToDrawError):
                reasons.append(f"Not drawn: {drawing}.")
                panels.append(tag("figure", heading, tag("p", reasons[-1], class_="missing")))
            else:
                caption = tag("figcaption", " ".join(drawing.notes)) if drawing.notes else ""
                panels.append(tag("figure", heading, _picture(drawing, figure, name), caption))
    return panels, reasons


def _picture(drawing: Drawing, figure: Figure, name: str) -> Markup:
    drawing.finish()
    data = render(drawing, figure.form, dpi=_DPI)
    width, height = (round(float(inches) * _CSS_DPI) for inches in drawing.figure.get_size_inches())
    kind = "svg+xml" if figure.form == "svg" else figure.form
    return image(data, kind, f"{name}. {drawing.alt}", width, height)
