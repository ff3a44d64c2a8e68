"""The charts along the slider: what was measured, and what of it is shown when it is chosen."""

from pathlib import Path

import numpy as np
import pytest

from embevo.analysis.analyze import analyze
from embevo.viewer.export import data_addresses, kept
from embevo.viewer.server import Viewer
from embevo.viewer.site import NotFoundError, Site
from support.page import Page
from viewer.test_site import told


@pytest.mark.parametrize("most_bytes", [None, 24 * 10 * 40])
def test_every_offered_chart_has_the_numbers_of_the_analysis(
    recorded: list[Path], most_bytes: int | None
) -> None:
    site = Site(recorded[:1], most_bytes=most_bytes)
    series = analyze(recorded[0]).series
    steps = told(site, "data/0/run.json")["steps"]
    offered = [one["name"] for one in site.subjects[0].charts.measured()["offered"]]
    assert {"rankme", "cka_last", "mean_cosine", "centroid_norm", "ulp_moved_share"} <= set(offered)
    assert not {"radius_rms", "loss", "learning_rate", "step", "displacement"} & set(offered)
    for name in offered:
        chart = told(site, f"data/0/charts/{name}.json")
        rows = range(len(steps)) if chart["rows"] is None else chart["rows"]
        assert len(rows) > 10
        array = series[name]
        over = "step" if "step" in array.dims else "measured_step"
        for group, line in chart["lines"].items():
            values = array.sel(group=group) if group else array
            expected = values.sel({over: [steps[row] for row in rows]}).to_numpy().astype(float)
            np.testing.assert_allclose(np.array(line, float), expected, rtol=1e-5)
    with pytest.raises(NotFoundError, match="no chart of loss"):
        site.get("data/0/charts/loss.json")
    site.close()


def test_a_folder_has_all_charts_and_a_single_file_the_usual_ones(recorded: list[Path]) -> None:
    site = Site(recorded[:1])
    assert "data/0/charts/rankme.json" in list(data_addresses(site, (), ways=True))
    assert not [address for address in data_addresses(site, (), ways=False) if "charts/" in address]
    assert b'"offered":[]' in kept(site, "data/0/charts.json", (), ways=False)
    site.close()


@pytest.fixture
def vast(monkeypatch: pytest.MonkeyPatch, recorded: list[Path], tmp_path: Path) -> Path:
    """A run of more numbers than are measured unasked, of which nothing was measured yet."""
    monkeypatch.setattr("embevo.viewer.charts._VAST_ELEMENTS", 100)
    run = tmp_path / "vast"
    run.mkdir()
    for path in recorded[0].iterdir():
        if not path.name.startswith("analysis"):
            (run / path.name).symlink_to(path)
    return run


def test_a_vast_run_is_measured_when_that_is_asked_for(vast: Path) -> None:
    site = Site([vast])
    for _ in range(2):
        charts = told(site, "data/0/charts.json")
        assert (charts["waits"], charts["measuring"]) == (150 * 24 * 6, None)
        assert [chart["name"] for chart in charts["charts"]] == ["loss", "learning_rate"]
    assert told(site, "data/0/measure.json")["measuring"] is not None
    assert site.subjects[0].charts.measured()["waits"] == 0
    site.close()


@pytest.mark.slow
def test_a_chosen_chart_is_the_first_one_and_stays_in_the_address(browser: object, vast: Path) -> None:
    first = "document.querySelector('#charts .chart p').innerText"
    with Viewer(Site([vast])).serving() as url, Page.opened(browser, url) as page:
        page.page.click("#charts-box summary")
        page.page.click("#measure")
        page.page.locator("#offers input[value=rankme]").check()
        page.until(f"{first}.startsWith('effective rank (RankMe), at ')")
        page.settle()
        page.until("location.hash.includes('charts=rankme')")
        shown = page.ask("[...document.querySelectorAll('#charts canvas')].length")
        page.page.locator("#offers input[value=cka_last]").check()
        page.until(f"{first}.startsWith('similarity')")
        page.page.locator("#offers input[value=cka_last]").uncheck()
        page.until(f"document.querySelectorAll('#charts canvas').length === {shown}")
        page.page.reload()
        page.until(f"!!document.querySelector('#charts p') && {first}.startsWith('effective rank')")
        assert not page.complaints
