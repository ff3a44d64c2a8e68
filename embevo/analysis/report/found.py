"""What comes first in a report, the key findings in plain words, and what is folded away at first."""

from collections.abc import Sequence

from embevo.analysis import Analysis
from embevo.analysis.findings import findings
from embevo.analysis.report.markup import Markup, joined, tag


def findings_section(subjects: Sequence[tuple[str, Analysis]]) -> Markup:
    """The section on what was found of each run.

    Args:
        subjects: the runs, each with the name that it has on the page.
    """
    parts = []
    for name, analysis in subjects:
        sentences = findings(analysis)
        heading = tag("h3", name) if len(subjects) > 1 else ""
        parts.append(
            joined(
                heading,
                tag("ul", [tag("li", sentence) for sentence in sentences], class_="findings")
                if sentences
                else tag("p", "Nothing stands out.", class_="soft"),
            )
        )
    return tag("section", tag("h2", "Key findings", id="findings"), parts)


def folded(title: str, *children: str | Sequence[str], unfolded: bool = False) -> Markup:
    """What can be folded away below a title, and is at first unless it is to be ``unfolded``."""
    content = joined(tag("summary", title), *children)
    return Markup(f"<details open>{content}</details>") if unfolded else tag("details", content)
