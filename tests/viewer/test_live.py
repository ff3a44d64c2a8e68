"""Runs that are being recorded, were interrupted, or are damaged, on the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embevo import Recorder
from embevo.run.reading.reader import open_run
from embevo.run.repair.rewinding import rewind_to
from embevo.viewer.server import Viewer
from embevo.viewer.site import Site
from support import trajectories
from support.page import Page

pytestmark = pytest.mark.slow


def test_a_run_that_is_being_recorded_grows_on_the_page(browser: Any, tmp_path: Path) -> None:
    weight = torch.zeros(12, 4)
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:

        def capture(step: int) -> None:
            weight.copy_(torch.arange(48.0).reshape(12, 4).sin() * (step + 1))
            recorder.capture(step, loss=1.0 / (step + 1))

        for step in range(5):
            capture(step)
        with Viewer(Site([tmp_path / "run"])).serving() as url, Page.opened(browser, url) as page:
            assert page.step == 4
            for step in range(5, 30):
                capture(step)
            page.until("embevo.runs[0].rows === 30 && embevo.state.step === 29")
            page.settle()
            assert "recording" in page.page.inner_text("#live")
            page.press("Home")
            for step in range(30, 40):
                capture(step)
            # Who looks at another step stays there.
            page.until("embevo.runs[0].rows === 40")
            assert page.step == 0
            page.page.click("#follow")
            assert page.step == 39
            recorder.close()
            page.until("embevo.runs[0].meta.state === 'complete'")
            assert not page.complaints


def test_an_interrupted_run_is_shown_as_it_was_captured(browser: Any, tmp_path: Path) -> None:
    values = trajectories.brownian(30, 10, 4).astype(np.float32)
    run = trajectories.record(tmp_path / "run", values, block_steps=8, close=False)
    with Viewer(Site([run])).serving() as url, Page.opened(browser, url) as page:
        assert "interrupted" in page.page.inner_text("#live")
        shown = np.reshape(page.ask("[...embevo.panels[0].shown[0].places]"), (-1, 3))
        page.ask("embevo.see('raw-0-1-2')")
        page.until("embevo.runs[0].view.kind === 'raw'")
        page.settle()
        shown = np.reshape(page.ask("[...embevo.panels[0].shown[0].places]"), (-1, 3))
        np.testing.assert_array_equal(shown, values[page.step, :, :3])


def test_damage_is_told_with_its_block_and_nothing_is_shown_for_it(browser: Any, tmp_path: Path) -> None:
    values = trajectories.brownian(30, 10, 4).astype(np.float32)
    run = trajectories.record(tmp_path / "run", values, block_steps=8)
    with Viewer(Site([run])).serving() as url:
        for chunk in (run / "trajectory.zarr" / "embeddings").glob("c.1.*"):
            data = bytearray(chunk.read_bytes())
            data[len(data) // 2] ^= 1
            chunk.write_bytes(data)
        page = browser.new_page()
        try:
            page.goto(url)
            status = page.locator("#status", has_text="block 1")
            status.wait_for()
            assert "embevo recover" in status.inner_text() or "verify" in status.inner_text()
        finally:
            page.close()


def test_accessibility_rules_are_kept(browser: Any, recorded: list[Path]) -> None:
    axe = pytest.importorskip("axe_core_python.sync_playwright")
    for scheme in ("light", "dark"):
        with (
            Viewer(Site(recorded)).serving() as url,
            Page.opened(browser, url, state="tokens=4", color_scheme=scheme) as page,
        ):
            page.until("document.querySelectorAll('.chart').length > 4")
            page.until("!!document.querySelector('#token table tr')")
            page.ask((Path(axe.__file__).parent / "axe.min.js").read_text())
            found = page.ask("axe.run()")["violations"]
            assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []


def test_a_run_that_was_complete_and_is_recorded_anew_is_shown_anew(browser: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def write(times: float, steps: range, *, resume: bool = False) -> None:
        weight = torch.zeros(6, 4)
        with Recorder(run, {"embeddings": weight}, resume=resume) as recorder:
            for step in steps:
                weight.copy_(torch.arange(24.0).reshape(6, 4).sin() * times * (step + 1))
                recorder.capture(step)

    write(1, range(20))
    with Viewer(Site([run])).serving() as url, Page.opened(browser, url, state="view=raw-0-1-2") as page:
        assert page.step == 19
        with page.page.expect_navigation():
            rewind_to(run, 10)
            write(-3, range(11, 15), resume=True)
        page.until("!!(window.embevo && embevo.firstPicture)")
        page.press("End")
        assert page.step == 14
        shown = np.reshape(page.ask("[...embevo.panels[0].shown[0].places]"), (-1, 3))
        np.testing.assert_array_equal(shown, open_run(run)["embeddings"][-1][:, :3])
        assert not page.complaints
