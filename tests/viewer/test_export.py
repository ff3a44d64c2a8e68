"""The page without its server: a folder, a single file, and a frame of the report."""

import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo

from embevo.errors import ArgumentError
from embevo.run.reading.reader import open_run
from embevo.viewer.export import export, single_page
from embevo.viewer.site import Site
from support import trajectories
from support.page import Page
from viewer.test_site import components

pytestmark = pytest.mark.slow


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed of single requests."""


def test_a_folder_is_shown_by_any_server(browser: object, recorded: list[Path], tmp_path: Path) -> None:
    site = Site(recorded)
    folder = tmp_path / "page"
    total = export(site, folder)
    site.close()
    assert total == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        with Page.opened(
            browser, f"http://127.0.0.1:{server.server_address[1]}/", state="step=20&flat=1"
        ) as page:
            assert page.step == 20
            page.until("embevo.runs[0].charts.charts.length > 4")
            page.ask("embevo.select([4])")
            page.until("!!document.querySelector('#token table tr')")
            page.page.select_option("#view-kind", "all")
            page.until("embevo.runs[1].view.name === 'all-0-1-2'")
            assert (
                page.ask(
                    "[...document.getElementById('view-kind').options].filter((one) => one.disabled).length"
                )
                == 2
            )
            assert not page.complaints
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_single_file_opens_from_the_disk_and_asks_for_nothing(
    browser: Any, recorded: list[Path], tmp_path: Path
) -> None:
    site = Site(recorded[:1], most_bytes=24 * 10 * 60)
    (tmp_path / "page.html").write_text(single_page(site))
    site.close()
    with Page.opened(browser, f"file://{tmp_path}/page.html", offline=True) as page:
        page.press("Home")
        steps = page.ask("embevo.runs[0].steps")
        assert 30 <= len(steps) <= 60
        assert (steps[0], steps[-1]) == (0, 149)
        row = len(steps) // 2
        page.ask(f"embevo.timeline.go({steps[row]})")
        page.settle()
        values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
        mean, basis = components(values[-1])
        shown = np.reshape(page.ask("[...embevo.panels[0].shown[0].places]"), (-1, 3))
        expected = (values - mean) @ basis[:3].T
        assert np.abs(shown - expected[steps[row]]).max() <= np.ptp(expected) / 65_000
        assert "of the 150 recorded steps" in page.page.inner_text(".caption")
        chart = page.ask("embevo.runs[0].charts.charts.find((one) => one.name === 'loss').lines['']")
        np.testing.assert_allclose(chart, 4 - 0.001 * np.array(steps), rtol=1e-5)
        assert not page.complaints


def test_the_report_has_a_frame_in_which_the_run_is_replayed(
    browser: Any, recorded: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    done = CliRunner().invoke(embevo, ["report", str(recorded[0]), "--out", str(out)])
    assert done.exit_code == 0, done.output
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.goto(f"file://{out}")
        frame = page.frame_locator("iframe")
        # It takes clicks from its first picture on.
        frame.locator("#now", has_text="step 149 of 149").wait_for()
        frame.locator("#to-start").click()
        frame.locator("#now", has_text="step 0 of 149").wait_for()
    finally:
        context.close()


def test_a_report_of_a_vast_vocabulary_has_none_and_stays_small(tmp_path: Path) -> None:
    run = trajectories.record(tmp_path / "run", np.zeros((3, 9000, 2), np.float32))
    out = tmp_path / "report.html"
    done = CliRunner().invoke(embevo, ["report", str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "<iframe" not in out.read_text()


@pytest.fixture
def unlike(tmp_path: Path) -> list[Path]:
    """Runs of vectors of other lengths, in matrices of other names."""
    return [
        trajectories.record(
            tmp_path / name, trajectories.brownian(20, 10, dim).astype(np.float32), matrix=name
        )
        for name, dim in (("wte", 4), ("embeddings", 6))
    ]


def test_runs_of_vectors_of_other_lengths_have_a_page_and_a_report(
    unlike: list[Path], tmp_path: Path
) -> None:
    site = Site(unlike)
    export(site, tmp_path / "page")
    site.close()
    for number in (0, 1):
        assert (tmp_path / f"page/data/{number}/view/final-0-1-2/view.json").is_file()
    assert not list((tmp_path / "page/data/1/view").glob("of-0-*"))
    out = tmp_path / "report.html"
    # A run that is named twice is replayed once.
    done = CliRunner().invoke(embevo, ["report", *map(str, [*unlike, unlike[0]]), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "<iframe" in out.read_text()


@pytest.mark.parametrize("there", [False, True])
def test_what_stops_an_export_leaves_no_half_of_a_page(
    recorded: list[Path], tmp_path: Path, *, there: bool
) -> None:
    site, folder = Site(recorded[:1]), tmp_path / "page"
    if there:
        folder.mkdir()

    def stop(done: int, files: int) -> None:
        if done > files // 2:
            assert len(list(folder.rglob("*"))) > done / 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(site, folder, stop)
    assert folder.exists() == there
    assert not list(tmp_path.rglob("*/*"))
    # So that the same command can be given again.
    assert export(site, folder) > 0
    site.close()


def test_a_folder_that_holds_something_is_left_alone(recorded: list[Path], tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path / "mine")
    site = Site(recorded[:1])
    with pytest.raises(ArgumentError, match="there already"):
        export(site, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_says_where_the_page_cannot_be_written(recorded: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, and no directory")
    folder = tmp_path / "file" / "page"
    said = CliRunner().invoke(embevo, ["view", str(recorded[0]), "--export", str(folder)])
    assert said.exit_code == 2
    assert f"the page cannot be written: {folder}" in said.output
    assert "name another directory with --export" in said.output
