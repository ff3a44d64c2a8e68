"""The page by its keys alone, and runs of unusual shapes on it."""

from pathlib import Path

import numpy as np
import pytest

from embevo.viewer.server import Viewer
from embevo.viewer.site import Site
from support import trajectories
from support.page import Page
from viewer.test_site import told

pytestmark = pytest.mark.slow

# What can be used: visible, and not switched off.
USABLE = """
[...document.querySelectorAll("button, input, select, summary, canvas[tabindex], a[href], [tabindex='0']")]
  .filter((one) => !one.disabled && one.checkVisibility())
"""


def reach(page: Page, selector: str) -> None:
    """Go to a control by Tab alone, as who has no mouse does."""
    for _ in range(200):
        if page.ask(f"document.activeElement.matches({selector!r})"):
            return
        page.page.keyboard.press("Tab")
    raise AssertionError(f"{selector} was not reached")


def test_every_control_is_reached_by_tab(page: Page) -> None:
    page.until("document.querySelectorAll('.chart').length > 4")
    page.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.ask("embevo.select([4])")
    page.until("!!document.querySelector('#token table tr') && !!document.querySelector('#token .near li')")
    wanted = page.ask(f"(window.usable = {USABLE}).length")
    page.ask("(window.seen = new Set(), document.activeElement.blur())")
    for _ in range(wanted + 20):
        page.page.keyboard.press("Tab")
        page.ask("void window.seen.add(document.activeElement)")
    missed = (
        "window.usable.filter((one) => one.isConnected && !window.seen.has(one)).map((one) => one.outerHTML)"
    )
    assert page.ask(missed) == []


def test_everything_is_done_by_keys(both: Page) -> None:
    page = both
    keys = page.page.keyboard
    reach(page, "#view-kind")
    keys.press("ArrowDown")
    page.until("embevo.runs.every((run) => run.view.kind === 'all')")
    for selector, condition in (
        ("#axis-0", "embevo.state.view === 'all-1-1-2'"),
        ("#frame", "embevo.state.frame === 'centroid'"),
        ("#trail", "embevo.state.trail === 10"),
        ("#layout", "embevo.state.common"),
        ("#speed", "embevo.state.speed === '2'"),
    ):
        reach(page, selector)
        keys.press("ArrowUp" if selector == "#axis-0" else "ArrowDown")
        page.until(condition)
    for selector, condition in (
        ("#flat", "embevo.state.flat"),
        ("#rings", "!embevo.state.rings"),
        ("#tool-lasso", "embevo.state.tool === 'lasso'"),
        ("#between", "embevo.state.between"),
        ("#log", "!embevo.state.log"),
        ("#to-start", "embevo.state.step === 0"),
        ("#forward", "embevo.state.step === 1"),
        ("#play", "embevo.state.playing"),
    ):
        reach(page, selector)
        keys.press("Enter")
        page.until(condition)
    keys.press("Space")
    page.until("!embevo.state.playing")
    reach(page, "#search")
    keys.type("4")
    page.until("document.querySelectorAll('#found button').length > 1")
    keys.press("Enter")
    page.until("embevo.state.selected.size === 1")
    reach(page, "#found li:nth-child(2) button")
    keys.press("Shift+Enter")
    page.until("embevo.state.selected.size === 2")
    reach(page, "#downloads summary")
    keys.press("Enter")
    reach(page, "#save-csv")
    with page.page.expect_download() as taken:
        keys.press("Enter")
    assert taken.value.suggested_filename.endswith(".csv")
    reach(page, "#events-box summary")
    keys.press("Enter")
    page.until("document.querySelectorAll('#events button').length > 0")
    reach(page, "#events button")
    keys.press("Enter")
    page.until("embevo.state.step === embevo.runs[0].charts.events[0].step")
    reach(page, "#help-open")
    keys.press("Enter")
    page.until("document.getElementById('help').open")
    keys.press("Escape")
    page.until("!document.getElementById('help').open")
    assert not page.complaints


@pytest.mark.parametrize("dim", [1, 2])
def test_vectors_of_one_number_or_two_are_shown(browser: object, tmp_path: Path, dim: int) -> None:
    values = trajectories.brownian(20, 9, dim).astype(np.float32)
    values[5, 2] = np.nan
    values[6] = np.inf
    run = trajectories.record(tmp_path / "run", values)
    with Viewer(Site([run])).serving() as url, Page.opened(browser, url) as page:
        for view in ("all-0-1-2", "sky-centroid-0-1-2", "step-3-0-1-2"):
            page.ask(f"void embevo.see({view!r})")
            page.until(f"embevo.runs[0].view.name === {view!r}")
            for step in (5, 6, 19):
                page.ask(f"embevo.timeline.go({step})")
                finite = np.isfinite(values[step]).all(axis=1)
                found = np.isfinite(page.positions()).all(axis=1)
                # A direction has a place where there is a length.
                assert not found[~finite].any()
                assert view.startswith("sky") or (found == finite).all()
        page.ask("void embevo.see('raw-0-1-2')")
        page.until("!document.getElementById('status').hidden")
        assert f"the vectors have {dim}" in page.page.inner_text("#status")
        assert all("400" in complaint for complaint in page.complaints)


def test_settings_that_json_has_no_word_for_are_left_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"a": float("nan"), "b": float("inf"), "c": 0.5, "d": "x", "e": [1]}
    monkeypatch.setattr("embevo.run.reading.reader.Run.config", settings)
    assert told(site, "data/0/run.json")["config"] == {"c": 0.5, "d": "x"}
