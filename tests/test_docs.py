"""The pages: links lead somewhere, every page is on the map, and what is made from the code is up to date."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import embevo
import make_architecture
from import_graph import ROOT, import_graph

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "data", "benchmarks")
    for path in (ROOT / folder).glob("*.md")
)
# What programs and people look for at the top of a repository.
AT_THE_TOP = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"}


def links(page: str) -> Iterator[str]:
    """Targets within the tree, without those in code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page: str) -> None:
    if page == "CHANGELOG.md":
        pytest.skip("it names what was there")
    code = r"`((?:embevo|cli|data|docs|scripts|tests|benchmarks)/[\w/.*-]+)`"
    named = re.findall(code, (ROOT / page).read_text())
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


def test_every_page_is_on_the_map() -> None:
    mapped = {
        (ROOT / "docs" / target).resolve().relative_to(ROOT.resolve()).as_posix()
        for target in links("docs/index.md")
    }
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").iterdir() if path.suffix in {".md", ".ipynb"}}
    assert mapped == (pages - {"docs/index.md"}) | AT_THE_TOP
    assert "docs/index.md" in set(links("README.md"))


def test_drawing_and_lists_of_the_architecture_are_those_of_the_code() -> None:
    graph = import_graph()
    text = make_architecture.PAGE.read_text()
    stale = "run: python scripts/make_architecture.py"
    assert make_architecture.page(text, graph) == text, stale
    assert make_architecture.drawing(graph) == make_architecture.DRAWING.read_text(), stale
    assert {"rooms", *make_architecture.WAYS} == set(re.findall(r"<!-- made: (\w+) -->", text)) - {"end"}


def test_the_drawing_follows_the_imports() -> None:
    graph = {
        "embevo.run.a.x": {"embevo.run.b.x", "embevo.run.c"},
        "embevo.run.b.x": {"embevo.run.c"},
        "embevo.run.c": set[str](),
    }
    shown = make_architecture.rooms(graph)
    assert make_architecture.floors(shown) == {"embevo.run.a": 2, "embevo.run.b": 1, "embevo.run.c": 0}
    assert make_architecture.without_detours(shown)["embevo.run.a"] == {"embevo.run.b"}
    with pytest.raises(ValueError, match="import from each other"):
        make_architecture.floors({"a": {"b"}, "b": {"a"}})


def test_every_page_that_names_the_version_names_this_one() -> None:
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited
    assert cited[1] == embevo.__version__
    assert f"## {embevo.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
