"""Writes the tables of docs/analysis.md that say what is measured, from what the measures declare.

python scripts/make_measures_tables.py
"""

import re
from pathlib import Path
from typing import Final

from embevo.analysis.measures.registry import MEASURES

_PAGE: Final = Path(__file__).parents[1] / "docs/analysis.md"
_PLACE: Final = re.compile(r"(<!-- variables: (\w+) -->\n).*?(<!-- variables: end -->)", re.DOTALL)


def table(section: str) -> str:
    """The rows of all variables of a section, as Markdown."""
    rows = ["| variable (dimensions) | unit | definition | made of |", "| --- | --- | --- | --- |"]
    for measure in MEASURES:
        if measure.section == section:
            for of in measure.variables:
                name = f"`{of.name}` ({', '.join(of.dimensions)})"
                rows.append(f"| {name} | {of.unit or '-'} | {of.definition} | {of.source} |")
    return "\n".join(rows) + "\n"


def rewrite(page: Path) -> None:
    """Replace what lies between the marks of a page."""
    page.write_text(_PLACE.sub(lambda found: found[1] + table(found[2]) + found[3], page.read_text()))


if __name__ == "__main__":
    rewrite(_PAGE)
