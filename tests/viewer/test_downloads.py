"""What can be taken from the page as files: vectors as Zarr, and films."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image
from zarr.storage import ZipStore

from embevo.analysis.film import animation
from embevo.errors import ArgumentError, FilmError
from embevo.run.reading.reader import open_run
from embevo.viewer import carried
from embevo.viewer.site import NotFoundError, Site
from support.page import Page
from viewer.test_site import told


@pytest.fixture
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film is a GIF then, which is read back with Pillow."""

    def find() -> str:
        raise FilmError("there is none")

    monkeypatch.setattr("embevo.analysis.film.encoding.find_ffmpeg", find)


def finished(site: Site, told_of: dict) -> dict:
    end = time.monotonic() + 60
    while not told_of["file"] and not told_of["failure"]:
        assert time.monotonic() < end
        time.sleep(0.02)
        told_of = told(site, "data/0/film/told.json")
    return told_of


def test_selected_tokens_are_a_zip_that_zarr_opens(site: Site, recorded: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    path.write_bytes(site.get("data/0/tokens/2-4.9/way.zip").data)
    group = zarr.open_group(ZipStore(path, read_only=True), mode="r")
    run = open_run(recorded[0])
    np.testing.assert_array_equal(group["embeddings"][:], run["embeddings"][:][:, [2, 3, 4, 9]])
    np.testing.assert_array_equal(group["step"][:], run.steps)
    np.testing.assert_array_equal(group["token"][:], [2, 3, 4, 9])
    assert group.attrs["dtype"] == "bfloat16"
    assert group.attrs["label"] == [run.token_names.labels[token] for token in (2, 3, 4, 9)]
    assert group["embeddings"].metadata.dimension_names == ("step", "token", "dim")


@pytest.mark.parametrize("tokens", ["24", "3-2", "0..1", "-", "5-999999999"])
def test_tokens_that_there_are_not_are_refused(site: Site, tokens: str) -> None:
    with pytest.raises(ArgumentError, match="tokens"):
        site.get(f"data/0/tokens/{tokens}/way.zip")


def test_what_is_too_much_for_a_page_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "_MOST_BYTES", 1000)
    with pytest.raises(ArgumentError, match="export-safetensors"):
        site.get("data/0/tokens/0-3/way.zip")


@pytest.mark.usefixtures("without_ffmpeg")
def test_a_film_shows_the_steps_that_were_asked_for(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    cloud = animation.MovingCloud

    def watched(analysis: Any, points: Any, holes: Any, steps: Any, *rest: Any, **how: Any) -> Any:
        seen.append(steps.tolist())
        return cloud(analysis, points, holes, steps, *rest, **how)

    monkeypatch.setattr(animation, "MovingCloud", watched)
    done = finished(site, told(site, "data/0/film/begin-20-23.json"))
    assert (done["file"], done["failure"], done["done"]) == ("20-23.gif", "", 4)
    assert seen == [[20, 21, 22, 23]]
    found = site.get("data/0/film/20-23.gif")
    assert found.kind == "image/gif"
    path = tmp_path / "film.gif"
    path.write_bytes(found.data)
    with Image.open(path) as film:
        assert film.n_frames == 4
    # It is there, and not made again.
    assert told(site, "data/0/film/begin-20-23.json")["file"] == "20-23.gif"
    with pytest.raises(NotFoundError):
        site.get("data/0/film/20-24.gif")
    with pytest.raises(ArgumentError, match="two steps"):
        site.get("data/0/film/begin-20-20.json")


@pytest.mark.usefixtures("without_ffmpeg")
def test_a_film_is_cancelled_and_begun_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.get("data/0/film/begin-0-149.json")
    with pytest.raises(ArgumentError, match="cancel that one"):
        site.get("data/0/film/begin-0-3.json")
    stopped = told(site, "data/0/film/stop.json")
    assert (stopped["failure"], stopped["file"]) == ("cancelled", "")
    assert finished(site, told(site, "data/0/film/begin-0-1.json"))["file"] == "0-1.gif"

    def fail(*_: object, **__: object) -> None:
        raise FilmError("the disk is full")

    monkeypatch.setattr(animation, "write_film", fail)
    assert finished(site, told(site, "data/0/film/begin-2-4.json"))["failure"] == "the disk is full"
    # Asking how it went makes no other.
    assert told(site, "data/0/film/told.json")["failure"] == "the disk is full"


@pytest.mark.slow
@pytest.mark.usefixtures("without_ffmpeg")
def test_both_are_taken_from_the_page(page: Page, recorded: list[Path], tmp_path: Path) -> None:
    page.page.click("#downloads summary")
    page.page.click("#save-zarr")
    page.until("document.getElementById('saved').innerText.startsWith('Select tokens first')")
    page.ask("embevo.select([3, 4, 7])")
    with page.page.expect_download() as taken:
        page.page.click("#save-zarr")
    path = tmp_path / "some.zip"
    taken.value.save_as(path)
    expected = open_run(recorded[0])["embeddings"][:][:, [3, 4, 7]]
    group = zarr.open_group(ZipStore(path, read_only=True), mode="r")
    np.testing.assert_array_equal(group["embeddings"][:], expected)
    page.page.fill("#film-from", "10")
    page.page.fill("#film-to", "12")
    with page.page.expect_download() as taken:
        page.page.click("#film-make")
    taken.value.save_as(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3
    assert taken.value.suggested_filename.endswith("steps-10-12.gif")
    page.page.fill("#film-to", "149")
    page.page.click("#film-make")
    page.page.click("#film-cancel")
    page.until("document.getElementById('saved').innerText.startsWith('Cancelled')")
    assert page.page.is_enabled("#film-make")
    page.page.fill("#film-to", "10")
    page.page.click("#film-make")
    page.until("document.getElementById('saved').innerText.includes('two steps')")
    # The browser itself tells of an answer that refuses.
    assert all("400" in complaint for complaint in page.complaints)
    assert json.loads(page.ask("JSON.stringify([...embevo.state.selected])")) == [3, 4, 7]
