"""The report: one valid page that needs nothing else, says what was found, and is not fooled by a run."""

import re
import shlex
from collections import Counter
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embevo_cli.train import train

from embevo.analysis import Thresholds, analyze
from embevo.analysis.figures.catalogue import FIGURES
from embevo.analysis.report import page as module
from embevo.analysis.report.markup import Markup, joined, tag
from embevo.analysis.report.page import report
from embevo.analysis.report.reproduction import commands
from embevo.experiment.config import ExperimentConfig
from embevo.run.reading.reader import open_run
from support import drawn, trajectories

HOSTILE = "<script>alert('1')</script>\"&amp;$body\x00</style>"
SHOWN = tuple(
    figure for figure in FIGURES if figure.name in {"loss", "cloud", "displacement", "norm_frequency"}
)
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A page taken apart; it complains of what is not nested well."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        # A paragraph ends where a block begins, whatever was meant.
        assert not ("p" in self.open and tag in {"p", "ul", "table", "pre", "dl", "section", "h2"}), tag
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A normal run, and a singular one that means ill."""
    folder = tmp_path_factory.mktemp("runs")
    one = analyze(drawn.record_normal(folder / "tame", seed=1))
    path = drawn.record_singular(folder / "a<b> & 'c' \"$body\"", **{HOSTILE: HOSTILE, "seed": 2})
    other = analyze(path)
    other.labels[:] = [HOSTILE] * len(other.labels)
    with pytest.MonkeyPatch.context() as patch:
        # Each of the others is drawn by the tests of figures.
        patch.setattr(module, "FIGURES", SHOWN)
        return report([one, other])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages with one figure only."""
    monkeypatch.setattr(module, "FIGURES", FIGURES[2:3])


def test_the_page_is_valid(html: str) -> None:
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    page = Page(html)
    counts = Counter(name for name, _ in page.elements)
    assert (counts["h1"], counts["title"], counts["body"]) == (1, 1, 1)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in ids}
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_nothing_is_loaded_or_run(html: str) -> None:
    page = Page(html)
    for name, attributes in page.elements:
        assert name not in {"script", "link", "iframe", "object", "base", "form", "svg"}
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in {"src", "href", "srcset", "action", "style"}:
                assert value is not None
                assert value.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,", "#"))
    assert "url(" not in html
    assert "@import" not in html


def test_text_from_the_run_stays_text(html: str) -> None:
    page = Page(html)
    shown = " ".join(HOSTILE.replace("\x00", "\ufffd").split())
    assert page.text.count(shown) >= 2, "as the name of a setting, and as its value"
    assert "<script>" not in html
    assert "\x00" not in html
    assert "a<b> & 'c' \"$body\"" in page.text
    assert html.count("</style>") == 1


def test_verdicts_come_first_and_are_words(html: str) -> None:
    page = Page(html)
    text = page.text
    marks = Counter(re.findall(r"[✓✗?] (supported|refuted|undecided)", text))
    assert marks.total() == 4 + 5
    for prediction in ("N1", "N2", "N3", "N4", "S1", "S2", "S3", "S4", "S5"):
        assert prediction in text
    order = [
        text.index(name) for name in ("Each prediction", "An arrow leads", "Grey is the loss", "min_steps")
    ]
    assert order == sorted(order)
    assert "Number of distinct rows at step 0 is 1; predicted = 1" in text


def test_every_figure_of_both_runs_is_described(html: str) -> None:
    page = Page(html)
    images = page.all("img")
    assert len(images) == 2 * len(SHOWN)
    for image in images:
        assert image["alt"] is not None
        assert image["alt"].startswith(("tame. ", "a<b>"))
        assert len(image["alt"]) > 60
        assert int(image["width"] or 0) > int(image["height"] or 0) > 200
    for figure in SHOWN:
        assert figure.title in page.text
        assert figure.guide in page.text
    assert len(html) < 5_000_000


def test_settings_that_differ_are_marked(html: str) -> None:
    assert "<b>seed</b></th>" in html
    assert '<td data-label="tame"><b>1</b></td>' in html
    assert '<th scope="row">name</th>' not in html.partition('id="settings"')[0]


@pytest.mark.usefixtures("quick")
def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    path = drawn.record_singular(tmp_path / "run")
    first = report([analyze(path)])
    assert first == report([analyze(path)])
    # One run alone is not called by its name at every figure.
    assert "<figure><img" in first


@pytest.mark.usefixtures("quick")
def test_a_run_of_which_little_is_known_has_a_page(tmp_path: Path) -> None:
    still = np.ones((3, 2, 2), np.float32)
    page = Page(report([analyze(trajectories.record(tmp_path / "run", still))]))
    assert "Not drawn: all tokens are at one point at every step." in page.text
    assert "Nothing was recorded of it." in page.text
    assert "recorded by a program of one's own" in page.text
    assert "which are dead is not known" in page.text


@pytest.mark.usefixtures("quick")
def test_runs_of_many_seeds_are_judged_together_and_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    monkeypatch.setattr(module, "share_scales", lambda drawings: compared.append(len(drawings)))
    paths = [drawn.record_singular(tmp_path / f"a/{seed}", seed=seed) for seed in range(5)]
    paths.append(drawn.record_normal(tmp_path / "b/0", seed=0))
    page = Page(report([analyze(path, {"tight": 0.25}) for path in paths]))
    assert "5 runs together: init=qwen" in page.text
    assert "Run by run: S1: 5 supported;" in page.text
    assert "Cohen's d, init=qwen against init=normal" in page.text
    assert "Of the 6 runs, those drawn are the first of each group: a/0, b/0." in page.text
    assert len(page.all("img")) == 2
    assert compared == [2], "both on one scale"
    assert "0.25 (changed from 0.1)" in page.text
    assert Thresholds.reasons()["tight"] in page.text


@pytest.mark.parametrize("dropped", [True, False])
def test_the_command_makes_the_same_configuration(tmp_path: Path, dropped: bool) -> None:
    chosen = ExperimentConfig(
        init="normal",
        steps=7,
        corpus="my text's.txt",
        drop_out_of_vocab=dropped,
        dtype="float32",
        init_sigma=1e-5,
    )
    settings = asdict(chosen)
    path = trajectories.record(tmp_path / "it's", np.zeros((2, 2, 2), np.float32), config=settings)
    (command,) = commands(open_run(path), path.name)
    assert all(len(line) <= 80 for line in command.splitlines())
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["embevo", "train"]
    with train.make_context("train", words[2:]) as context:
        given: dict[str, Any] = {name: context.params[name] for name in settings}
        assert given == settings
        assert context.params["out"] == Path("runs/it's")


def test_markup_escapes_all_but_itself() -> None:
    assert tag("p", "<&>\"'", class_='a"b') == '<p class="a&quot;b">&lt;&amp;&gt;&quot;&#x27;</p>'
    assert joined("a", tag("b", "c"), ["<", Markup("<br>")]) == "a<b>c</b>&lt;<br>"
    assert tag("td", "x", data_label="y", id="") == '<td data-label="y">x</td>'
