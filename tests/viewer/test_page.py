"""The page in a real browser: what it shows is what was recorded, and every control does what it says."""

import random
import re
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embevo.run.format.token_subset import TokenSubset
from embevo.run.reading.reader import open_run
from embevo.viewer.server import Viewer
from embevo.viewer.site import Site
from support import trajectories
from support.page import Page
from viewer.test_site import components

pytestmark = pytest.mark.slow


def expected(
    values: NDArray[np.float64], size: tuple[int, int], low: list[float], high: list[float]
) -> NDArray[np.float64]:
    """Pixels of ``(token, 3)`` places in two dimensions: one scale, the ranges' middle in the middle."""
    middle = (np.array(low) + high) / 2
    unit = min(0.84 * size[0] / (high[0] - low[0]), 0.8 * size[1] / (high[1] - low[1]))
    return np.stack(
        [size[0] / 2 + unit * (values[:, 0] - middle[0]), size[1] / 2 - unit * (values[:, 1] - middle[1])],
        axis=1,
    )


@pytest.mark.parametrize("row", [0, 77, 149])
def test_tokens_are_where_numpy_puts_them(page: Page, recorded: list[Path], row: int) -> None:
    values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
    mean, basis = components(values[-1])
    places = (values - mean) @ basis[:3].T
    page.ask(f"(embevo.state.flat = true, embevo.timeline.go({row}), embevo.redraw())")
    found = page.positions()
    size = page.ask("[embevo.panels[0].mapping.width, embevo.panels[0].mapping.height]")
    low, high = places.min(axis=(0, 1)).tolist(), places.max(axis=(0, 1)).tolist()
    assert np.abs(found[:, :2] - expected(places[row], size, low, high)).max() < 0.5
    assert page.step == row


def test_what_is_drawn_is_where_the_positions_say(page: Page) -> None:
    page.ask("(embevo.state.flat = true, embevo.state.rings = false, embevo.redraw())")
    found = page.positions()
    alone = [
        token
        for token in range(len(found))
        if np.sort(np.linalg.norm(found[:, :2] - found[token, :2], axis=1))[1] > 26
    ]
    assert len(alone) >= 3
    for token in alone:
        x, y = found[token, :2]
        # The middle of the ink within ten pixels, from what WebGL has drawn.
        middle = page.ask(
            f"""(() => {{
              const canvas = embevo.panels[0].canvas, density = embevo.panels[0].points.density;
              const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
              copy.drawImage(canvas, 0, 0);
              const left = Math.round({x} * density) - 12, top = Math.round({y} * density) - 12;
              const {{ data }} = copy.getImageData(left, top, 25, 25);
              let [sum, across, down] = [0, 0, 0];
              for (let at = 0; at < 625; at += 1) {{
                const ink = data[4 * at + 3];
                sum += ink; across += ink * (at % 25 + 0.5); down += ink * (Math.floor(at / 25) + 0.5);
              }}
              return [(left + across / sum) / density, (top + down / sum) / density];
            }})()"""
        )
        assert np.hypot(middle[0] - x, middle[1] - y) < 0.5


def test_the_slider_and_the_keys_go_through_the_steps(page: Page) -> None:
    assert page.step == 149
    page.press("Home")
    assert page.step == 0
    page.press("ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft")
    assert page.step == 11
    page.page.locator("#slider").fill("500000")
    page.settle()
    assert page.step == round(np.expm1(0.5 * np.log1p(149)))
    page.press("g")
    page.page.locator("#slider").fill("500000")
    page.settle()
    assert page.step in {74, 75}
    page.press("End")
    assert page.step == 149


def test_playing_goes_on_and_ends_at_the_last_step(page: Page) -> None:
    page.press("Home")
    page.page.select_option("#speed", "rows")
    page.page.click("#play")
    page.until("embevo.state.step > 5")
    page.until("!embevo.state.playing")
    assert page.step == 149
    page.page.select_option("#speed", "4")
    page.press("Home")
    page.page.click("#play")
    page.until("embevo.state.step > 0")
    page.page.click("#play")
    assert page.ask("embevo.state.playing") is False


def test_between_steps_is_said_and_only_shown_when_it_is_wanted(page: Page) -> None:
    page.ask("embevo.timeline.go(10.5)")
    assert page.step in {10, 11}
    before = page.positions()
    page.page.click("#between")
    page.ask("embevo.timeline.go(10.5)")
    middle = page.positions()
    ends = []
    for row in (10, 11):
        page.ask(f"embevo.timeline.go({row})")
        ends.append(page.positions())
    np.testing.assert_allclose(middle, (ends[0] + ends[1]) / 2, atol=1e-2)
    assert any(np.allclose(before, end) for end in ends)
    page.ask("embevo.timeline.go(10.5)")
    page.settle()
    assert "0.50 of the way to 11" in page.page.inner_text(".caption")


@pytest.mark.parametrize("kind", ["all", "step", "raw", "sky-origin", "sky-centroid", "final"])
def test_every_view_can_be_chosen(page: Page, kind: str) -> None:
    page.page.select_option("#view-kind", kind)
    name = "step-149" if kind == "step" else kind
    page.until(f"embevo.runs[0].view.name === '{name}-0-1-2'")
    page.settle()
    assert np.isfinite(page.positions()).all()
    assert not page.complaints


def test_a_token_is_found_and_its_story_told(page: Page, recorded: list[Path]) -> None:
    values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
    page.press("/")
    page.page.keyboard.type("17")
    page.page.keyboard.press("Enter")
    page.until("embevo.state.selected.has(17)")
    page.until("!!document.querySelector('#token table tr')")
    text = page.page.inner_text("#token")
    assert f"{np.linalg.norm(values[-1, 17]):.5g}" in text
    page.page.click("#token details:nth-of-type(2) summary")
    page.until("!!document.querySelector('.bits td')")
    first = page.page.inner_text(".bits tr:first-child td")
    assert float(first) == values[-1, 17, 0]
    page.ask("embevo.timeline.go(20)")
    page.until("document.querySelector('#token details:nth-of-type(2)').innerText.includes('step 20')")
    assert float(page.page.inner_text(".bits tr:first-child td")) == values[20, 17, 0]


def test_of_two_runs_a_story_has_the_numbers_of_both_and_events_are_of_the_kind_that_is_wanted(
    both: Page, recorded: list[Path]
) -> None:
    values = [np.asarray(open_run(path)["embeddings"][:], np.float64) for path in recorded]
    both.press("/")
    both.page.keyboard.type("17")
    both.page.keyboard.press("Enter")
    both.until("document.querySelectorAll('#token table tr:nth-of-type(2) td').length === 2")
    assert both.page.locator("#token thead th").all_inner_texts() == ["a", "b"]
    told = both.page.locator("#token tbody tr:nth-of-type(2) td").all_inner_texts()
    assert told == [f"{np.linalg.norm(of[-1, 17]):.5g}" for of in values]
    both.until("embevo.runs.every((run) => run.charts.events.length && run.charts.measuring === null)")
    both.ask(
        "embevo.runs[1].charts.events.push({step: 3, kind: 'emission', before: [5], after: [4], tokens: [3]})"
    )
    both.ask("embevo.tokens.events.list()")
    both.page.click("#events-box summary")
    both.page.select_option("#event-kind", "emission")
    assert both.page.locator("#events button").all_inner_texts() == ["3 emission 5 → 4: 3 (b)"]
    both.page.select_option("#event-kind", "freezing")
    told = both.page.locator("#events button").all_inner_texts()
    assert told
    assert all(" freezing: " in one for one in told)
    assert {one[-3:] for one in told} == {"(a)", "(b)"}
    steps = [int(one.split()[0].replace(",", "")) for one in told]
    assert steps == sorted(steps)


def test_names_of_runs_are_shortened_to_what_they_differ_by(page: Page) -> None:
    for names, short in (
        (["novel-normal-seed1-t1", "novel-singular-seed1-t1"], ["normal", "singular"]),
        (["x/run-1", "y/run-1"], ["x", "y"]),
        (["run", "run-2"], ["run", "run-2"]),
        (["a-b-1", "a-c_d-1", "a-b-2"], ["b-1", "c_d-1", "b-2"]),
        (["novel-normal"], ["novel-normal"]),
    ):
        found = page.page.evaluate(
            "names => import('./parts.js').then((all) => all.shortNames(names))", names
        )
        assert found == short


def test_pointing_names_a_token_and_a_click_selects_it(page: Page) -> None:
    page.press("2")
    found = page.positions()
    box = page.page.locator(".panel canvas").first.bounding_box()
    outermost = int(np.argmax(found[:, 0]))
    x, y = box["x"] + found[outermost, 0], box["y"] + found[outermost, 1]
    page.page.mouse.move(x, y)
    page.until("!document.getElementById('tip').hidden")
    assert str(outermost) in page.page.inner_text("#tip")
    page.page.mouse.click(x, y)
    page.until(f"embevo.state.selected.has({outermost})")
    page.press("Escape")
    assert page.ask("embevo.state.selected.size") == 0


@pytest.mark.parametrize("tool", ["box", "lasso"])
def test_a_box_and_a_lasso_select_what_is_inside(page: Page, tool: str) -> None:
    page.press("2")
    page.page.click(f"#tool-{tool}")
    found = page.positions()
    box = page.page.locator(".panel canvas").first.bounding_box()
    split = float(np.median(found[:, 0])) + 3
    corners = [(2, 2), (split, 2), (split, box["height"] - 3), (2, box["height"] - 3)]
    mouse = page.page.mouse
    mouse.move(box["x"] + 2, box["y"] + 2)
    mouse.down()
    for x, y in corners[2:3] if tool == "box" else corners[1:]:
        mouse.move(box["x"] + x, box["y"] + y, steps=4)
    mouse.up()
    inside = set(np.flatnonzero(found[:, 0] < split).tolist())
    page.until("embevo.state.selected.size > 0")
    assert set(page.ask("[...embevo.state.selected]")) == inside


def test_events_are_marked_and_lead_to_their_step(page: Page) -> None:
    page.until("embevo.runs[0].charts.events.length > 0 && embevo.runs[0].charts.measuring === null")
    page.page.click("#events-box summary")
    page.page.locator("#events button", has_text="freezing").first.click()
    page.settle()
    assert page.step == 100
    assert set(page.ask("[...embevo.state.selected]")) >= {3, 5}
    assert page.page.locator(".chart").count() >= 5


def test_a_drag_in_a_chart_moves_the_slider(page: Page) -> None:
    page.until("document.querySelectorAll('.chart').length > 1")
    box = page.page.locator(".chart canvas").first.bounding_box()
    page.page.mouse.move(box["x"] + 5, box["y"] + 20)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20, steps=3)
    page.page.mouse.up()
    page.settle()
    assert abs(page.step - np.expm1(0.5 * np.log1p(149))) <= 1


def test_the_address_shows_the_same_elsewhere(page: Page, browser: object) -> None:
    page.page.select_option("#view-kind", "all")
    page.until("embevo.state.view === 'all-0-1-2'")
    page.press("2", "Home", "ArrowRight", "ArrowRight", "t", "h")
    page.ask("embevo.select([4, 7])")
    page.until("location.hash.includes('tokens=4.7')")
    before = page.positions()
    address = page.page.url
    with Page.opened(browser, address.split("#")[0], state=address.split("#")[1]) as other:
        np.testing.assert_allclose(other.positions(), before, atol=1e-6)
        assert other.step == page.step == 2
        assert other.ask("[...embevo.state.selected]") == [4, 7]
        assert other.ask("[embevo.state.trail, embevo.state.rings, embevo.state.flat]") == [10, False, True]


@pytest.mark.parametrize(("button", "ending"), [("png", ".png"), ("svg", ".svg"), ("csv", ".csv")])
def test_what_is_shown_can_be_saved(
    page: Page, tmp_path: Path, button: str, ending: str, recorded: list[Path]
) -> None:
    page.ask("embevo.select([4])")
    # By the keyboard: the story of a token that comes meanwhile moves what is below it.
    page.page.locator("#downloads summary").press("Enter")
    page.page.wait_for_selector("#downloads[open]")
    with page.page.expect_download() as download:
        page.page.click(f"#save-{button}")
    target = tmp_path / "saved"
    download.value.save_as(target)
    assert download.value.suggested_filename.endswith(ending)
    data = target.read_bytes()
    if button == "png":
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
    elif button == "svg":
        assert len(re.findall(rb"<circle|<rect x", data)) == 24
    else:
        values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
        mean, basis = components(values[-1])
        table = np.array([line.split(b",") for line in data.splitlines()[1:]], np.float64)
        np.testing.assert_allclose(table[:, 1:], (values[:, 4] - mean) @ basis[:3].T, atol=2e-6)


def test_two_runs_have_one_slider_and_lie_over_each_other_along_the_same_axes(
    both: Page, recorded: list[Path]
) -> None:
    both.ask("embevo.timeline.go(40)")
    both.settle()
    assert both.page.locator(".panel").count() == 2
    assert both.page.inner_text(".panel >> nth=1").startswith("step 40")
    both.page.select_option("#layout", "over")
    both.until("embevo.runs[1].view.name === 'of-0-final-0-1-2' && embevo.panels.length === 1")
    both.settle()
    shown = both.ask("embevo.panels[0].shown.map((one) => [...one.places])")
    mean, basis = components(np.asarray(open_run(recorded[0])["embeddings"][-1], np.float64))
    for path, places in zip(recorded, shown, strict=True):
        values = np.asarray(open_run(path)["embeddings"][40], np.float64)
        np.testing.assert_allclose(np.reshape(places, (-1, 3)), (values - mean) @ basis[:3].T, atol=2e-6)


def test_a_server_that_goes_away_is_said_and_what_is_loaded_stays(
    browser: object, recorded: list[Path]
) -> None:
    with ExitStack() as server:
        url = server.enter_context(Viewer(Site(recorded[:1])).serving())
        with Page.opened(browser, url) as page:
            server.close()
            page.until("document.getElementById('status').innerText.includes('does not answer')")
            page.press("ArrowLeft")
            assert page.step == 148


def test_a_walk_over_the_controls_leaves_no_error(browser: object, recorded: list[Path]) -> None:
    """Sixty random walks; each step is a key, a click on a button, or a choice."""
    keys = [*" []g20wa+-vht,.", "Home", "End", "ArrowLeft", "Shift+ArrowRight", "Escape"]
    buttons = [
        "flat",
        "rings",
        "reset",
        "back",
        "forward",
        "log",
        "between",
        "tool-turn",
        "tool-box",
        "to-start",
    ]
    choices = {
        "view-kind": ["final", "all", "raw", "sky-origin", "step"],
        "frame": ["fixed", "centroid", "box"],
        "trail": ["0", "10", "200"],
        "layout": ["own", "side", "over"],
        "speed": ["4", "rows"],
    }
    chance = random.Random(7)
    with Viewer(Site(recorded)).serving() as url, Page.opened(browser, url) as page:
        for _ in range(60):
            for _ in range(5):
                what = chance.random()
                if what < 0.5:
                    page.page.keyboard.press(chance.choice(keys))
                elif what < 0.8:
                    button = page.page.locator(f"#{chance.choice(buttons)}")
                    if button.is_enabled():
                        button.click()
                else:
                    name = chance.choice(list(choices))
                    page.page.select_option(f"#{name}", chance.choice(choices[name]))
        page.press("Escape")
        assert not page.complaints
        assert np.isfinite(page.positions()).all()


def test_at_360_pixels_nothing_is_wider_than_the_screen(browser: object, recorded: list[Path]) -> None:
    with (
        Viewer(Site(recorded[:1])).serving() as url,
        Page.opened(browser, url, viewport={"width": 360, "height": 740}, has_touch=True) as page,
    ):
        assert page.ask("document.documentElement.scrollWidth") <= 360
        page.press("Home")
        assert page.step == 0


def test_a_token_is_the_same_one_in_both_runs_wherever_it_stands(browser: object, tmp_path: Path) -> None:
    values = trajectories.brownian(20, 10, 4).astype(np.float32)
    first = trajectories.record(tmp_path / "first", values)
    chosen = [1, 4, 5, 9]
    second = trajectories.record(tmp_path / "second", values[:, chosen], tokens=TokenSubset.of(chosen, 10))
    with Viewer(Site([first, second])).serving() as url, Page.opened(browser, url, state="flat=1") as page:
        page.ask("embevo.select([5, 2])")
        page.settle()
        assert page.ask("[...embevo.runs[1].selected]") == [chosen.index(5)]
        # A click on a token of the second run selects the same token, not the one at the same place.
        found = page.positions(1)
        outermost = int(np.argmax(found[:, 0]))
        box = page.page.locator(".panel canvas").nth(2).bounding_box()
        page.page.mouse.click(box["x"] + found[outermost, 0], box["y"] + found[outermost, 1])
        page.until("embevo.state.selected.size === 1")
        assert page.ask("[...embevo.state.selected]") == [chosen[outermost]]
    with Viewer(Site([second, first])).serving() as url, Page.opened(browser, url, state="flat=1") as page:
        page.ask("embevo.pick(embevo.runs[1], 0, false)")
        page.settle()
        assert page.ask("embevo.state.selected.size") == 0
        assert "is not a token of second" in page.page.inner_text("#status")
