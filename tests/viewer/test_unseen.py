"""The page where browsers draw nothing by themselves: out of sight, or with the graphics taken away."""

from pathlib import Path

import pytest

from embevo.viewer.server import Viewer
from embevo.viewer.site import Site
from support.page import Page

pytestmark = pytest.mark.slow


def test_a_page_out_of_sight_shows_what_is_wanted(browser: object, recorded: list[Path]) -> None:
    """Chromium gives no animation frames to a frame of a report that lies below the window."""
    none = "window.requestAnimationFrame = () => 0"
    with (
        Viewer(Site(recorded[:1])).serving() as url,
        Page.opened(browser, url, script=none) as page,
    ):
        page.page.locator("#now", has_text="step 149 of 149").wait_for()
        page.ask("embevo.timeline.go(3)")
        assert page.step == 3


def test_graphics_that_are_taken_away_come_back(browser: object, recorded: list[Path]) -> None:
    """Browsers do so when they have too many pictures, and when the driver has failed."""
    taken = """
        const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...how) {
          const found = get.call(this, kind, ...how);
          if (kind === "webgl2") {
            window.taking = found.getExtension("WEBGL_lose_context");
            taking.loseContext();
          }
          return found;
        };
    """
    with (
        Viewer(Site(recorded[:1])).serving() as url,
        Page.opened(browser, url, script=taken) as page,
    ):
        for _ in range(2):
            page.until("document.getElementById('status').innerText.includes('taken the graphics')")
            page.ask("taking.restoreContext()")
            page.until("document.getElementById('status').hidden")
            page.settle()
            drawn = """(() => {
                const canvas = document.querySelector(".panel canvas");
                const [width, height] = [canvas.width, canvas.height];
                const pen = new OffscreenCanvas(width, height).getContext("2d");
                pen.drawImage(canvas, 0, 0);
                return pen.getImageData(0, 0, width, height).data.filter((ink) => ink > 0).length;
            })()"""
            assert page.ask(drawn) > 1000
            page.ask("taking.loseContext()")
